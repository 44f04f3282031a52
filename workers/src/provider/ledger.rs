//! Ledger of a provider, as audits read it.
//!
//! Guarantees required of an implementation: entries never change and keep their order; a page has a bounded size. A
//! provider that cannot list its transactions has no ledger: an audit then says that it did not compare.

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::domain::{Currency, OrderId};

use super::error::ProviderError;

/// Read access to the ledger of a provider.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Entries oldest first, after the entry with this id. The provider may give fewer than `limit`.
    async fn page(&self, after: Option<&str>, limit: u32) -> Result<LedgerPage, ProviderError>;

    /// The entries of one order, oldest first, as far as one page holds them.
    async fn of_order(&self, order: OrderId) -> Result<Vec<LedgerEntry>, ProviderError>;
}

/// A page of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPage {
    /// The entries.
    pub entries: Vec<LedgerEntry>,
    /// Whether more follow.
    pub has_more: bool,
}

/// Kind of a ledger entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Money to the merchant.
    Charge,
    /// Money back to the customer.
    Refund,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The provider's id of the entry.
    pub id: String,
    /// Kind of the entry.
    pub movement: EntryKind,
    /// The idempotency key of its request.
    pub idempotency_key: String,
    /// The charge itself, or the one a refund belongs to.
    pub charge: String,
    /// Amount in minor units.
    pub amount_minor: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// The order in the request's metadata, where that is an order id.
    pub order: Option<OrderId>,
    /// Time of the entry.
    pub at: Timestamp,
}
