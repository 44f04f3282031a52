//! Registered customers of merchants. Orders need none: who orders without an account is in the order alone.
//!
//! Guarantees: a merchant has one account per mail address, letter case ignored. Accounts are opened once their address
//! is proven, see [`crate::verifications`]. Passwords are never seen here: only their hashes.

use std::fmt;

use async_trait::async_trait;
use base::Timestamp;
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

/// Keeps registered customers.
#[async_trait]
pub trait Customers: Send + Sync + 'static {
    /// A merchant's customer with this address, letter case ignored.
    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError>;

    /// Any customer, for workers and for sessions, which name the merchant themselves.
    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError>;

    /// Erases an account: its row, its mails, what waits for a proof of its address, and what `customer.registered`
    /// tells of it but its id. Orders stay. False when there is none.
    async fn delete_account(&self, merchant: MerchantId, id: CustomerId) -> Result<bool, StoreError>;
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
