//! What an auditor asks of the order store, over all merchants, and the few things it may mend.
//!
//! Guarantees: listings are paged by key and bounded, so that a store of any size can be walked in bounded memory; each
//! answer is one statement's view or one transaction. What is mended is derived from what stands beside it, inside the
//! write, and so may be asked for again. Does not judge: the workers' `verify` does.
//!
//! Everything else an auditor reads is in the other contracts: [`crate::orders::Orders::order_by_id`],
//! [`crate::orders::Mails::mails`], [`crate::outbox::Outbox::order_events`],
//! [`crate::webhooks::Webhooks::attempts_of_order`].

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{EndpointId, EventId, MerchantId, OrderId, RefundId},
    error::StoreError,
    orders::CaptureFacts,
    webhooks::Subscription,
};

/// Orders an [`AuditMark`] may name.
pub const AGAIN_MAX: usize = 10_000;

/// The money of an order as its own store has it, and what still waits to be told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderMoney {
    /// The recorded capture.
    pub capture: Option<CaptureFacts>,
    /// Refunds asked for and recorded, by id.
    pub refunds: Vec<OrderRefund>,
    /// When the oldest message about it was written that no relay has marked as sent.
    pub unsent_since: Option<Timestamp>,
}

/// A refund as an order knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderRefund {
    /// Its id.
    pub id: RefundId,
    /// How much.
    pub amount_minor: i64,
    /// Asked for.
    pub requested_at: Timestamp,
    /// Done by the provider and recorded.
    pub recorded_at: Option<Timestamp>,
    /// The message that asked for it, while the outbox keeps it.
    pub command: Option<EventId>,
}

/// A product's stock beside what open orders hold of it, both of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockCount {
    /// Whose it is.
    pub merchant: MerchantId,
    /// Stock keeping unit.
    pub sku: String,
    /// Units in the house.
    pub on_hand: i64,
    /// Units promised.
    pub reserved: i64,
    /// Units in the lines of `pending` and `paid` orders; what `reserved` must be.
    pub held: i64,
}

/// An endpoint without its address and secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Which events.
    pub events: Subscription,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Since when it has been so; which earlier events it wanted is not known.
    pub since: Timestamp,
}

/// How far an incremental audit has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditMark {
    /// Orders without a later message were looked at.
    pub until: Timestamp,
    /// Orders before that which must be looked at again, at most [`AGAIN_MAX`].
    pub again: Vec<OrderId>,
    /// The last entry looked at of the provider's ledger.
    pub ledger: Option<String>,
}

/// Lets an auditor look, over all merchants.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// Ids of all orders in their order, after `after`, at most `limit`.
    async fn all_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>, StoreError>;

    /// Messages of the outbox about an order that were made in `from..until` and come after `after`, in the order of
    /// their ids, each with its order; at most `limit`. Every change of an order writes one.
    async fn touched_orders(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(EventId, OrderId)>, StoreError>;

    /// An order's money.
    async fn order_money(&self, order: OrderId) -> Result<Option<OrderMoney>, StoreError>;

    /// Stock in the order of merchant and sku, after `after`, at most `limit` products.
    async fn stock_counts(
        &self,
        after: Option<(MerchantId, String)>,
        limit: u32,
    ) -> Result<Vec<StockCount>, StoreError>;

    /// A merchant's endpoints.
    async fn audited_endpoints(&self, merchant: MerchantId) -> Result<Vec<AuditedEndpoint>, StoreError>;

    /// Makes a product's `reserved` what open orders hold; false when it is so already, or when more is held than is
    /// there, which only people can mend.
    async fn repair_reservation(
        &self,
        merchant: MerchantId,
        sku: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// For a cancelled order with a recorded capture: asks for what of it was never asked back, as cancelling it would
    /// have. False when there is nothing to ask for.
    async fn request_missing_refund(&self, order: OrderId, at: Timestamp) -> Result<bool, StoreError>;

    /// How far the last incremental audit came.
    async fn audit_mark(&self) -> Result<Option<AuditMark>, StoreError>;

    /// Remembers how far one came.
    async fn set_audit_mark(&self, mark: &AuditMark) -> Result<(), StoreError>;
}
