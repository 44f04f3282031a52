//! Registered customers of merchants. Orders need none: who orders without an account is in the order alone.
//!
//! Guarantees: a merchant has one account per mail address, letter case ignored; an account and its
//! `customer.registered` are one transaction. Passwords are never seen here: only their hashes.

use std::fmt;

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use unicode_normalization::UnicodeNormalization;

use crate::{
    domain::{Customer, CustomerId, MerchantId},
    error::StoreError,
};

/// A registered customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: CustomerId,
    /// Of which merchant.
    pub merchant: MerchantId,
    /// Name and mail address, as the customer writes them.
    pub customer: Customer,
    /// What a password is checked against.
    pub password_hash: PasswordHash,
    /// Registered.
    pub created_at: Timestamp,
}

/// A PHC string (`$argon2id$…`); `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// An account to open.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The account.
    pub account: Account,
    /// The request's key, if it had one; kept as long as the account.
    pub idempotency_key: Option<String>,
    /// The request's trace.
    pub trace: Option<TraceContext>,
}

/// What became of [`Customers::register`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// Opened now; `customer.registered` is in the outbox.
    Registered,
    /// This key opened this account before; nothing written. Whether the request was the same is for who can check
    /// its password: a fingerprint of the request kept here would be a fast hash of the password.
    KeyUsed(Box<Account>),
    /// The address has an account; nothing written.
    EmailTaken,
}

/// Keeps registered customers.
#[async_trait]
pub trait Customers: Send + Sync + 'static {
    /// Opens an account.
    async fn register(&self, new: NewAccount) -> Result<Registration, StoreError>;

    /// A merchant's customer with this address, letter case ignored.
    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError>;

    /// Any customer, for workers and for sessions, which name the merchant themselves.
    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError>;
}

impl PasswordHash {
    /// Wraps a PHC string.
    pub fn from_phc(text: String) -> Self {
        Self(text)
    }

    /// The PHC string.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// What makes two addresses one: composed (NFC) and in small letters. Servers may tell the case of a local part apart
/// (RFC 5321, section 2.4); people do not.
pub fn email_key(email: &str) -> String {
    email.to_lowercase().nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_look_the_same_are_the_same() {
        assert_eq!(email_key("Ada@Example.COM"), "ada@example.com");
        assert_eq!(email_key("A\u{308}da@example.com"), email_key("\u{e4}DA@example.com"));
        assert_ne!(email_key("ada@example.com"), email_key("ada+shop@example.com"));
    }

    #[test]
    fn a_hash_is_not_shown() {
        let hash = PasswordHash::from_phc("$argon2id$canary".to_owned());
        assert!(!format!("{hash:?}").contains("canary"));
    }
}
