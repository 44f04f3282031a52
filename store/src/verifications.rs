//! Proofs of mail addresses: registrations that wait for theirs, and password resets.
//!
//! Guarantees: a request and the command that leads to its mail are one transaction; what is written does not depend on
//! whether the address has an account; a token is kept as a hash only, works once, and opens an account or sets a
//! password in the transaction that uses it up. Requests per address and mails per address and time are bounded.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, TraceContext, time::later};

use crate::{
    customers::{Account, PasswordHash},
    domain::{CustomerId, MerchantId, VerificationId},
    error::StoreError,
    token::TokenHash,
};

/// Requests kept per address and purpose; the oldest give way.
pub const PER_ADDRESS_MAX: usize = 5;
/// Shortest time between two mails to an address for one purpose.
pub const MAIL_GAP: Duration = Duration::from_mins(2);
/// A request for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Its id.
    pub id: VerificationId,
    /// Of which merchant.
    pub merchant: MerchantId,
    /// The address to be proven, as it was written.
    pub email: String,
    /// What for.
    pub purpose: Purpose,
    /// Requested.
    pub created_at: Timestamp,
}

/// What an address is proven for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To open an account.
    Registration {
        /// The customer's name.
        name: String,
        /// Of the password that was chosen when registering.
        password_hash: PasswordHash,
    },
    /// To set another password.
    PasswordReset,
}

/// A request to store.
#[derive(Debug, Clone)]
pub struct NewVerification {
    /// The request.
    pub verification: Verification,
    /// The HTTP request's key, if it had one; kept as long as the request.
    pub idempotency_key: Option<String>,
    /// The HTTP request's trace.
    pub trace: Option<TraceContext>,
}

/// What became of [`Verifications::request_verification`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerificationRequested {
    /// Stored; its command is in the outbox.
    Stored,
    /// The same address and name came under this key before; nothing written. Passwords are not compared.
    Repeated,
    /// The key came with another address or name; nothing written.
    KeyReused,
}

/// What became of [`Verifications::mint_verification`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Minting {
    /// To be mailed now. The token counts if it can lead anywhere: to an account where there is none, to a password
    /// where there is one.
    Minted {
        /// The request.
        verification: Box<Verification>,
        /// The account that the address has.
        account: Option<Box<Account>>,
    },
    /// The address got a mail for the same purpose a moment ago; again after this.
    TooSoon(Duration),
    /// Its mail was sent before.
    Mailed,
    /// It has expired or given way to newer ones.
    NotFound,
}

/// An account to open by a token.
#[derive(Debug, Clone)]
pub struct OpenAccount {
    /// Of which merchant.
    pub merchant: MerchantId,
    /// The token's hash.
    pub token: TokenHash,
    /// The account's id.
    pub customer: CustomerId,
    /// Now.
    pub at: Timestamp,
    /// The request's trace.
    pub trace: Option<TraceContext>,
}

/// Keeps requests for proofs of addresses.
#[async_trait]
pub trait Verifications: Send + Sync + 'static {
    /// Stores a request; the oldest beyond [`PER_ADDRESS_MAX`] are dropped.
    async fn request_verification(&self, new: NewVerification) -> Result<VerificationRequested, StoreError>;

    /// Gives a request a token, in place of one it had. A reset takes the tokens of other resets of its address.
    async fn mint_verification(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Minting, StoreError>;

    /// Records that the mail of a request was sent.
    async fn record_verification_mail(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// The request that a token belongs to, unless it has expired.
    async fn verification_by_token(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Option<Verification>, StoreError>;

    /// Opens the account of a registration and writes `customer.registered`; tokens of the address for registrations
    /// are used up by it. `None` when the token belongs to no registration, or the address has an account.
    async fn open_account(&self, open: OpenAccount) -> Result<Option<Account>, StoreError>;

    /// Sets the password of the account that a reset is about, and uses the token up. `None` when the token belongs to
    /// no reset, or the address has no account.
    async fn reset_password(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        password_hash: PasswordHash,
        at: Timestamp,
    ) -> Result<Option<CustomerId>, StoreError>;

    /// Drops requests that have expired, at most `limit`; answers how many.
    async fn expire_verifications(&self, at: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

impl Verification {
    /// When its token ends.
    pub fn expires_at(&self) -> Timestamp {
        later(self.created_at, self.purpose.lifetime())
    }

    /// The customer's name, of a registration.
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

    /// The time from the request to the end of its token.
    pub const fn lifetime(&self) -> Duration {
        match self {
            Self::Registration { .. } => Duration::from_hours(24),
            Self::PasswordReset => Duration::from_hours(1),
        }
    }

    /// Whether it is to set another password.
    pub const fn is_reset(&self) -> bool {
        matches!(self, Self::PasswordReset)
    }
}
