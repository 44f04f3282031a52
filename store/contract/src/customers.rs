//! Registered customers of merchants. Orders need none: an order without an account holds its customer's data itself.
//!
//! Guarantees: a merchant has one account per mail address, letter case ignored. An account is opened once its address
//! is proven, see [`crate::verifications`]. Passwords do not reach the store, only their hashes.

use std::fmt;

use async_trait::async_trait;
use base::Timestamp;
use serde::Serialize;
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

/// Orders whose personal data one call of [`Customers::erase_customer`] erases at most.
pub const ERASE_ORDERS_MAX: u32 = 500;

/// A request to erase what is stored of a customer.
#[derive(Debug, Clone)]
pub struct Erasure {
    pub merchant: MerchantId,
    pub customer: CustomerId,
    /// Who asks, for the record: `customer`, or an operator's note of at most 500 characters.
    pub requested_by: String,
    pub at: Timestamp,
}

/// Result of [`Customers::erase_customer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    Done {
        /// Orders erased by this call.
        orders: u64,
        /// Whether orders are left, for another call.
        has_more: bool,
    },
    /// Orders of the customer are `pending` or `paid`, and need the data until they end; nothing changed.
    OrdersOpen { orders: u64 },
    /// The merchant has and had no such customer, as far as is known.
    NotFound,
}

/// The record of an erasure. It has no personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasureRecord {
    /// Orders whose personal data were erased, by all requests.
    pub orders: u64,
    /// Of the last request.
    pub requested_by: String,
    /// Time of the last request.
    pub erased_at: Timestamp,
}

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

    /// Deletes the account, if it is there, as [`Customers::delete_account`] does, and erases name, mail address,
    /// shipping address, reference and access token in the orders of the customer and in their events. Lines, amounts,
    /// states, payments, refunds and times stay: they are records of money. Keeps an [`ErasureRecord`]. May be
    /// repeated.
    ///
    /// Orders of the customer are those that were placed in a session of the account. Answers stored under idempotency
    /// keys hold their data until they expire, [`IDEMPOTENCY_KEEP`](crate::orders::IDEMPOTENCY_KEEP) after the order.
    async fn erase_customer(&self, erasure: Erasure) -> Result<Erased>;

    /// The record of a customer's erasure.
    async fn erasure(&self, merchant: MerchantId, id: CustomerId) -> Result<Option<ErasureRecord>>;
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
