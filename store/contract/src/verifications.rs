//! Verifications of mail addresses: pending registrations and password resets.
//!
//! Guarantees: a request and the command that sends its mail are one transaction; the rows written do not depend on
//! whether the address has an account; a token is stored as a hash only, works once, and opens an account or sets a
//! password in the transaction that consumes it. Requests per address, and mails per address and time, are bounded.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, TraceContext, time::later};

use crate::{
    customers::{Account, PasswordHash},
    domain::{CustomerId, MerchantId, VerificationId},
    error::Result,
    token::TokenHash,
};

/// Requests kept per address and purpose; a new one replaces the oldest.
pub const PER_ADDRESS_MAX: usize = 5;
/// Shortest time between two mails to an address for one purpose.
pub const MAIL_GAP: Duration = Duration::from_mins(2);
/// A request to verify an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    pub id: VerificationId,
    pub merchant: MerchantId,
    /// The address to verify, as it was written.
    pub email: String,
    /// What the verified address is needed for.
    pub purpose: Purpose,
    pub created_at: Timestamp,
}

/// The purpose of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Opening an account.
    Registration {
        name: String,
        /// Hash of the password chosen at registration.
        password_hash: PasswordHash,
    },
    PasswordReset,
}

/// A request to store.
#[derive(Debug, Clone)]
pub struct NewVerification {
    pub verification: Verification,
    /// Idempotency key of the HTTP request, if it had one; kept as long as the request.
    pub idempotency_key: Option<String>,
    pub trace: Option<TraceContext>,
}

/// Result of [`Verifications::request_verification`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerificationRequested {
    /// Stored; its command is in the outbox.
    Stored,
    /// The same address and name came under this key before; nothing written. Passwords are not compared.
    Repeated,
    /// The key came with another address or name before; nothing written.
    KeyReused,
}

/// Result of [`Verifications::mint_verification`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Minting {
    /// Send the mail now. The token is stored only where it can be used: a registration of an address without an
    /// account, a reset of an address with one.
    Minted { verification: Box<Verification>, account: Option<Box<Account>> },
    /// A mail for the same purpose was sent to the address less than [`MAIL_GAP`] ago; retry after this time.
    TooSoon(Duration),
    /// Its mail was sent before.
    Mailed,
    /// It has expired or was replaced by newer requests.
    NotFound,
}

/// An account to open by a token.
#[derive(Debug, Clone)]
pub struct OpenAccount {
    pub merchant: MerchantId,
    pub token: TokenHash,
    /// Id of the new account.
    pub customer: CustomerId,
    pub at: Timestamp,
    pub trace: Option<TraceContext>,
}

/// Requests to verify addresses, and the accounts and passwords they lead to.
#[async_trait]
pub trait Verifications: Send + Sync + 'static {
    /// Stores a request; the oldest beyond [`PER_ADDRESS_MAX`] are deleted.
    async fn request_verification(&self, new: NewVerification) -> Result<VerificationRequested>;

    /// Gives a request a token, in place of an earlier one. A reset revokes the tokens of other resets of its address.
    async fn mint_verification(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Minting>;

    /// Records that the mail of a request was sent.
    async fn record_verification_mail(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        at: Timestamp,
    ) -> Result<()>;

    /// The request with this token, unless it has expired.
    async fn verification_by_token(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Option<Verification>>;

    /// Opens the account of a registration and writes `customer.registered`; all registration tokens of the address are
    /// consumed. `None` when the token belongs to no registration, or the address has an account.
    async fn open_account(&self, open: OpenAccount) -> Result<Option<Account>>;

    /// Sets the password of the account of a reset and consumes the token. `None` when the token belongs to no reset,
    /// or the address has no account.
    async fn reset_password(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        password_hash: PasswordHash,
        at: Timestamp,
    ) -> Result<Option<CustomerId>>;

    /// Deletes expired requests, at most `limit`; returns how many.
    async fn expire_verifications(&self, at: Timestamp, limit: u32) -> Result<u64>;
}

impl Verification {
    /// When its token expires.
    pub fn expires_at(&self) -> Timestamp {
        later(self.created_at, self.purpose.lifetime())
    }

    /// The customer's name; `None` for a reset.
    pub fn name(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Registration { name, .. } => Some(name),
            Purpose::PasswordReset => None,
        }
    }
}

impl Purpose {
    /// The name in stores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Registration { .. } => "registration",
            Self::PasswordReset => "password_reset",
        }
    }

    /// The time from the request to the expiry of its token.
    pub const fn lifetime(&self) -> Duration {
        match self {
            Self::Registration { .. } => Duration::from_hours(24),
            Self::PasswordReset => Duration::from_hours(1),
        }
    }

    /// Whether it is a password reset.
    pub const fn is_reset(&self) -> bool {
        matches!(self, Self::PasswordReset)
    }
}
