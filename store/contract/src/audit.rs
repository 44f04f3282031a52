//! Reads and repairs for an audit of the order store, over all merchants.
//!
//! Guarantees: listings are paged by key and bounded, so that a store of any size is scanned in bounded memory; each
//! answer is the view of one statement or one transaction. A repair derives the new value from stored rows inside its
//! write, so it is idempotent. Does not decide what is wrong: the workers' `verify` does.
//!
//! The other reads of an audit are in the other contracts: [`crate::orders::Orders::order_by_id`],
//! [`crate::orders::Mails::mails`], [`crate::outbox::Outbox::order_events`],
//! [`crate::webhooks::Webhooks::attempts_of_order`].

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{EndpointId, Event, EventId, MerchantId, Order, OrderId, RefundId},
    error::Result,
    orders::{CaptureFacts, MailRecord},
    webhooks::{Subscription, WebhookAttempt},
};

/// Most rows of one kind in an answer of [`Audit::order_records`]: what a listing of one order holds.
pub const RECORDS_MAX: usize = 1000;

/// Most settlements of an order.
pub const SETTLEMENTS_MAX: u32 = 100;

/// Most orders in [`AuditMark::again`].
pub const AGAIN_MAX: usize = 10_000;

/// The money of an order as the order store records it, and the age of its unsent messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderMoney {
    /// The recorded capture, if any.
    pub capture: Option<CaptureFacts>,
    /// Refunds requested or recorded, by id.
    pub refunds: Vec<OrderRefund>,
    /// When the oldest message about the order was written that no relay has marked as sent.
    pub unsent_since: Option<Timestamp>,
    /// What people have settled, oldest first.
    pub settlements: Vec<Settlement>,
}

/// What the order store records about an order.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRecords {
    /// As [`crate::orders::Orders::order_by_id`] returns it.
    pub order: Order,
    /// As [`Audit::order_money`] returns it.
    pub money: OrderMoney,
    /// As [`crate::orders::Mails::mails`] returns them.
    pub mails: Vec<MailRecord>,
    /// As [`crate::outbox::Outbox::order_events`] returns them.
    pub events: Vec<Event>,
    /// As [`crate::webhooks::Webhooks::attempts_of_order`] returns them.
    pub attempts: Vec<WebhookAttempt>,
}

/// Violations of an order that a person has settled outside of the stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    pub at: Timestamp,
    /// How, in the person's words.
    pub note: String,
    /// The violations, as the audit reported them. One that reads differently is not settled.
    pub violations: Vec<String>,
}

/// A refund as the order store records it; the payment store has its own row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderRefund {
    /// The same id in the payment store.
    pub id: RefundId,
    /// In minor units of the order's currency.
    pub amount_minor: i64,
    pub requested_at: Timestamp,
    /// When it was recorded as done.
    pub recorded_at: Option<Timestamp>,
    /// When it was recorded as failed.
    pub failed_at: Option<Timestamp>,
    /// The outbox message that requested it, while the outbox keeps it.
    pub command: Option<EventId>,
}

/// A product's stock beside the units reserved by open orders, read in one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockCount {
    pub merchant: MerchantId,
    pub sku: String,
    /// Units in stock.
    pub on_hand: i64,
    /// Units reserved, as the product's row says.
    pub reserved: i64,
    /// Units in the lines of `pending` and `paid` orders, and in reservations of carts; `reserved` must equal it where
    /// the merchant's orders [read back](Audit::open_orders_read_back).
    pub held: i64,
}

/// A webhook endpoint without its URL and secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedEndpoint {
    pub id: EndpointId,
    pub events: Subscription,
    pub enabled: bool,
    /// Time of the last change of the endpoint; its subscription before that is not known.
    pub since: Timestamp,
}

/// Progress of the incremental audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditMark {
    /// Every order without a message later than this was audited.
    pub until: Timestamp,
    /// Orders from before `until` that must be audited again, at most [`AGAIN_MAX`].
    pub again: Vec<OrderId>,
    /// The last audited entry of the provider's ledger.
    pub ledger: Option<String>,
}

/// Audit reads and repairs, over all merchants.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// Ids of all orders above `after`, ascending, at most `limit`.
    async fn all_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>>;

    /// Outbox messages about orders, made in `from..until` and with an id above `after`, ascending by id, each with its
    /// order; at most `limit`. Every change of an order writes one.
    async fn touched_orders(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(EventId, OrderId)>>;

    /// The capture and refunds of an order; `None` when there is no such order.
    async fn order_money(&self, order: OrderId) -> Result<Option<OrderMoney>>;

    /// The records of these orders, in the sequence of `orders`, by a few statements for all of them; without those
    /// that are not stored. `None` where they cannot be read together: they have more than [`RECORDS_MAX`] rows of a
    /// kind, or a merchant was migrated meanwhile. Fails if one row does not read back.
    async fn order_records(&self, orders: &[OrderId]) -> Result<Option<Vec<OrderRecords>>>;

    /// Those of these orders that are stored, whether they read back or not. One whose merchant was migrated meanwhile
    /// may be left out.
    async fn stored_orders(&self, orders: &[OrderId]) -> Result<Vec<OrderId>>;

    /// Stock by (merchant, sku), after `after`, at most `limit` products.
    async fn stock_counts(&self, after: Option<(MerchantId, String)>, limit: u32) -> Result<Vec<StockCount>>;

    /// Whether every order of a merchant that may hold stock reads back: those in no terminal state, a state that this
    /// release does not know included.
    async fn open_orders_read_back(&self, merchant: MerchantId) -> Result<bool>;

    /// All endpoints of a merchant, disabled ones included.
    async fn audited_endpoints(&self, merchant: MerchantId) -> Result<Vec<AuditedEndpoint>>;

    /// Sets a product's `reserved` to the units that open orders hold. False when it is correct already, when open
    /// orders hold more than `on_hand`, or when they do not all read back: the latter two need manual action.
    async fn repair_reservation(&self, merchant: MerchantId, sku: &str, at: Timestamp) -> Result<bool>;

    /// For a cancelled order, or one whose payment failed, with a recorded capture: requests a refund of the part that
    /// is neither refunded nor on its way back, as cancelling does. False when nothing is left to request.
    async fn request_missing_refund(&self, order: OrderId, at: Timestamp) -> Result<bool>;

    /// Stores with an order what a person has settled, after earlier ones. False when there is no such order, or it has
    /// [`SETTLEMENTS_MAX`] of them.
    async fn settle(&self, order: OrderId, settlement: &Settlement) -> Result<bool>;

    /// The progress of the last incremental audit.
    async fn audit_mark(&self) -> Result<Option<AuditMark>>;

    /// Stores the progress of an incremental audit, in place of the last one.
    async fn set_audit_mark(&self, mark: &AuditMark) -> Result<()>;
}
