//! Ledger of a provider, as audits read it.
//!
//! Guarantees required of an implementation: a position leads past the same entries again; a page has a bounded
//! size; times are by our clock, whatever the provider's own says. A provider that cannot list its transactions has
//! no ledger: an audit then says that it did not compare.

use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::domain::{Currency, OrderId};

use super::error::Result;

#[async_trait]
pub trait Ledger: Send + Sync {
    /// The next entries after a position of an earlier page, from the first without one; none younger than `grace`.
    async fn page(&self, after: Option<&str>, grace: Duration) -> Result<LedgerPage>;

    /// Whether [`Ledger::of_order`] gives all entries of an order. Otherwise it gives those of `charge`, the
    /// recorded one, and others are in the pages only.
    fn lists_by_order(&self) -> bool {
        true
    }

    /// The entries of one order, as far as one page holds them.
    async fn of_order(&self, order: OrderId, charge: Option<&str>) -> Result<Vec<LedgerEntry>>;

    /// All entries of these orders, perhaps among others. `None` where one page does not hold them, or the ledger
    /// cannot list them together.
    async fn of_orders(&self, _orders: &[OrderId]) -> Result<Option<Vec<LedgerEntry>>> {
        Ok(None)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPage {
    pub entries: Vec<LedgerEntry>,
    /// Position after this page; `None` before the first entry.
    pub position: Option<String>,
    pub has_more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    Charge,
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
