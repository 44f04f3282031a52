//! Registered customers of merchants. Orders need none: an order without an account holds its customer's data itself.
//!
//! Guarantees: a merchant has one account per mail address, letter case ignored. An account is opened once its address
//! is proven, see [`crate::verifications`]. Passwords do not reach the store, only their hashes.

use std::fmt;

use async_trait::async_trait;
use base::Timestamp;
use unicode_normalization::UnicodeNormalization;

use crate::{
    domain::{Customer, CustomerId, MerchantId},
    error::Result,
};

/// A registered customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: CustomerId,
    pub merchant: MerchantId,
    /// Name and mail address, as the customer wrote them.
    pub customer: Customer,
    pub password_hash: PasswordHash,
    pub created_at: Timestamp,
}

/// A password hash as a PHC string (`$argon2id$…`); `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// Accounts of registered customers.
#[async_trait]
pub trait Customers: Send + Sync + 'static {
    /// A merchant's customer with this address, letter case ignored.
    async fn customer_by_email(&self, merchant: MerchantId, email: &str) -> Result<Option<Account>>;

    /// A customer of any merchant, for workers and for sessions, which check the merchant themselves.
    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>>;

    /// Deletes an account: its row, its mails, pending verifications of its address, and the personal data in its
    /// `customer.registered` event, of which the id stays. Orders stay. False when there is no such account.
    async fn delete_account(&self, merchant: MerchantId, id: CustomerId) -> Result<bool>;
}

impl PasswordHash {
    /// Wraps a PHC string; its form is not checked.
    pub fn from_phc(text: String) -> Self {
        Self(text)
    }

    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The key under which two spellings are one address: composed (NFC) and lower case. Servers may distinguish the case
/// of a local part (RFC 5321, section 2.4); people do not.
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
