//! A provider's own books, for audits.
//!
//! Guarantees asked of an implementation: entries never change and keep their place; a page has a bounded size. A
//! provider that cannot list what it did has none: an audit then says that it did not look.

use async_trait::async_trait;
use base::Timestamp;
use store::domain::{Currency, OrderId};

use super::ProviderError;

/// Lists what a provider did.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Entries oldest first, after the entry with this id. The provider may give fewer than `limit`.
    async fn page(&self, after: Option<&str>, limit: u32) -> Result<LedgerPage, ProviderError>;

    /// The entries of one order, oldest first, as far as one page holds them.
    async fn of_order(&self, order: OrderId) -> Result<Vec<LedgerEntry>, ProviderError>;
}

/// A part of the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPage {
    /// The entries.
    pub entries: Vec<LedgerEntry>,
    /// Whether more follow.
    pub has_more: bool,
}

/// Which way money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// To the merchant.
    Charge,
    /// Back to the customer.
    Refund,
}

/// Money that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The provider's id of it.
    pub id: String,
    /// Which way.
    pub movement: EntryKind,
    /// The key it was asked for with.
    pub idempotency_key: String,
    /// The charge itself, or the one a refund belongs to.
    pub charge: String,
    /// How much.
    pub amount_minor: i64,
    /// Of the amount.
    pub currency: Currency,
    /// What the caller said it was for, where that is an order's id.
    pub order: Option<OrderId>,
    /// When.
    pub at: Timestamp,
}
