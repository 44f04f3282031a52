//! Ledger of a provider, as audits read it.
//!
//! Guarantees required of an implementation: entries never change and keep their order; a page has a bounded size. A
//! provider that cannot list its transactions has no ledger: an audit then says that it did not compare.

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::domain::{Currency, OrderId};

use super::error::ProviderError;

#[async_trait]
pub trait Ledger: Send + Sync {
    /// Entries oldest first, after the entry with this id. The provider may give fewer than `limit`.
    async fn page(&self, after: Option<&str>, limit: u32) -> Result<LedgerPage, ProviderError>;

    /// The entries of one order, oldest first, as far as one page holds them.
    async fn of_order(&self, order: OrderId) -> Result<Vec<LedgerEntry>, ProviderError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPage {
    pub entries: Vec<LedgerEntry>,
    pub has_more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Money to the merchant.
    Charge,
    /// Money back to the customer.
    Refund,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The provider's id of the entry.
    pub id: String,
    pub movement: EntryKind,
    pub idempotency_key: String,
    /// The charge itself, or the one a refund belongs to.
    pub charge: String,
    pub amount_minor: i64,
    pub currency: Currency,
    /// The order in the request's metadata, where that is an order id.
    pub order: Option<OrderId>,
    pub at: Timestamp,
}
