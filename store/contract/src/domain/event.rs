//! Events, delivered to merchants and outside consumers. Written in the transaction of the change they describe.

use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

use super::{EventId, MerchantId, OrderId};
use crate::names::names;

/// An event, as stored and as delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Text form `evt_…`; also the webhook id of its deliveries.
    pub id: EventId,
    /// The merchant it is delivered to.
    pub merchant: MerchantId,
    /// The order it is about; `None` for events of the catalog, of customers, of endpoints and of the merchant.
    pub order: Option<OrderId>,
    pub kind: EventKind,
    /// Counts from 1 without gaps per order; for catalog events per product, for customers per customer. 1 for events
    /// of the merchant, each of which stands alone.
    pub sequence: u64,
    pub at: Timestamp,
    /// The object after the event, as the HTTP contract shows it. No secrets.
    pub data: serde_json::Value,
    /// Trace of the request or job that caused it.
    pub trace: Option<TraceContext>,
}

/// The kinds of events, fixed by the HTTP contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum EventKind {
    /// An order was accepted.
    OrderPlaced,
    /// An order's payment was captured.
    OrderPaid,
    /// An order was shipped.
    OrderFulfilled,
    OrderCancelled,
    /// The whole total of an order was refunded.
    OrderRefunded,
    PaymentCaptured,
    /// A payment was finally declined.
    PaymentFailed,
    /// A part or all of a payment was refunded.
    PaymentRefunded,
    /// The customer's bank opened a dispute of a payment, or its state changed.
    PaymentDisputed,
    /// The provider refused a refund.
    RefundFailed,
    /// A product's stock changed.
    InventoryUpdated,
    /// Available stock fell to the product's threshold.
    InventoryLow,
    CustomerRegistered,
    /// An endpoint was disabled because of its deliveries.
    WebhookEndpointDisabled,
    /// So many of a merchant's payments are declined that its shop may be used to test stolen cards.
    CardTestingSuspected,
}

names!(EventKind, "event kind", {
    OrderPlaced => "order.placed",
    OrderPaid => "order.paid",
    OrderFulfilled => "order.fulfilled",
    OrderCancelled => "order.cancelled",
    OrderRefunded => "order.refunded",
    PaymentCaptured => "payment.captured",
    PaymentFailed => "payment.failed",
    PaymentRefunded => "payment.refunded",
    PaymentDisputed => "payment.disputed",
    RefundFailed => "refund.failed",
    InventoryUpdated => "inventory.updated",
    InventoryLow => "inventory.low",
    CustomerRegistered => "customer.registered",
    WebhookEndpointDisabled => "webhook_endpoint.disabled",
    CardTestingSuspected => "card_testing.suspected",
});

impl TryFrom<String> for EventKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<EventKind> for &'static str {
    fn from(kind: EventKind) -> Self {
        kind.as_str()
    }
}
