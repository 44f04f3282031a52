//! Events, delivered to merchants and outside consumers. Written in the transaction of the change they describe.

use std::{fmt, str::FromStr};

use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

use super::{EventId, MerchantId, OrderId};

/// An event, as stored and as delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Text form `evt_…`; also the webhook id of its deliveries.
    pub id: EventId,
    /// The merchant it is delivered to.
    pub merchant: MerchantId,
    /// The order it is about; `None` for events of the catalog, of customers and of endpoints.
    pub order: Option<OrderId>,
    /// What happened.
    pub kind: EventKind,
    /// Counts from 1 without gaps per order; for catalog events per product, for customers per customer.
    pub sequence: u64,
    /// When it happened.
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
    /// An order was cancelled.
    OrderCancelled,
    /// The whole total of an order was refunded.
    OrderRefunded,
    /// A payment was captured.
    PaymentCaptured,
    /// A payment was finally declined.
    PaymentFailed,
    /// A part or all of a payment was refunded.
    PaymentRefunded,
    /// A product's stock changed.
    InventoryUpdated,
    /// Available stock fell to the product's threshold.
    InventoryLow,
    /// A customer registered.
    CustomerRegistered,
    /// An endpoint was disabled because of its deliveries.
    WebhookEndpointDisabled,
}

/// The text is not the name of an event kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no event kind `{0}`")]
pub struct ParseKindError(pub String);

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::OrderPlaced,
        Self::OrderPaid,
        Self::OrderFulfilled,
        Self::OrderCancelled,
        Self::OrderRefunded,
        Self::PaymentCaptured,
        Self::PaymentFailed,
        Self::PaymentRefunded,
        Self::InventoryUpdated,
        Self::InventoryLow,
        Self::CustomerRegistered,
        Self::WebhookEndpointDisabled,
    ];

    /// The dotted name, such as `order.placed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderPlaced => "order.placed",
            Self::OrderPaid => "order.paid",
            Self::OrderFulfilled => "order.fulfilled",
            Self::OrderCancelled => "order.cancelled",
            Self::OrderRefunded => "order.refunded",
            Self::PaymentCaptured => "payment.captured",
            Self::PaymentFailed => "payment.failed",
            Self::PaymentRefunded => "payment.refunded",
            Self::InventoryUpdated => "inventory.updated",
            Self::InventoryLow => "inventory.low",
            Self::CustomerRegistered => "customer.registered",
            Self::WebhookEndpointDisabled => "webhook_endpoint.disabled",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ParseKindError(text.to_owned()))
    }
}

impl TryFrom<String> for EventKind {
    type Error = ParseKindError;

    fn try_from(text: String) -> Result<Self, ParseKindError> {
        text.parse()
    }
}

impl From<EventKind> for &'static str {
    fn from(kind: EventKind) -> Self {
        kind.as_str()
    }
}
