//! Orders and their states.
//!
//! `pending` → `paid` → `fulfilled`; `pending` → `payment_failed`; `pending`|`paid` → `cancelled`;
//! `paid`|`fulfilled` → `refunded`. Every store guards each transition inside its write;
//! terminal states stay terminal.

use std::fmt;

use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

use super::{Adjustment, Currency, CustomerId, MerchantId, OrderId, ShipmentId};
use crate::names::names;

/// An order with its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub id: OrderId,
    pub merchant: MerchantId,
    pub status: OrderStatus,
    /// Currency of all amounts.
    pub currency: Currency,
    /// Sum of the lines and the adjustments: what is charged.
    pub total_minor: i64,
    /// Sum of the refunds recorded so far.
    pub refunded_minor: i64,
    /// The ordered products, at their prices when the order was placed.
    pub lines: Vec<OrderLine>,
    /// Discounts, shipping and taxes, in the order of their kinds.
    #[serde(default)]
    pub adjustments: Vec<Adjustment>,
    pub customer: Customer,
    /// The registered customer in whose session it was placed.
    pub account: Option<CustomerId>,
    /// Access token for its bearer; `None` when there was none or it was revoked.
    pub token: Option<OrderToken>,
    /// The provider's token of the payment method; never a card number.
    pub payment_method: String,
    pub shipping_address: Option<Address>,
    /// The merchant's own reference number.
    pub reference: Option<String>,
    /// Why the payment failed or the order was cancelled, as a stable code.
    pub status_reason: Option<String>,
    /// The shipment, once fulfilled.
    pub shipment: Option<Shipment>,
    /// Number of events so far; the next event's sequence is this plus one.
    pub event_sequence: u64,
    /// The trace of the request that placed it.
    pub trace: Option<TraceContext>,
    /// Time of placing.
    pub created_at: Timestamp,
    /// Last change of state.
    pub updated_at: Timestamp,
}

/// An access token of one order as stored: its bearer may read the whole order until it expires.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderToken {
    /// SHA-256 of the token, which has 256 random bits and is not stored.
    pub hash: [u8; 32],
    /// From this time on the token is not accepted.
    pub expires_at: Timestamp,
}

impl fmt::Debug for OrderToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub sku: String,
    /// The product's name when ordered.
    pub name: String,
    /// At least 1.
    pub quantity: u32,
    /// Price per unit when ordered.
    pub price_minor: i64,
    /// Price times quantity.
    pub total_minor: i64,
}

/// A customer's contact data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// A mail address of valid form.
    pub email: String,
    /// Without control characters.
    pub name: String,
}

impl Customer {
    /// What is left of a customer's data in an order after they were erased: two empty texts, which no order has that
    /// was placed.
    pub fn erased() -> Self {
        Self { email: String::new(), name: String::new() }
    }

    /// Whether the data were erased; no mail can be sent then.
    pub fn is_erased(&self) -> bool {
        self.email.is_empty()
    }
}

/// A postal address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Recipient.
    pub name: String,
    /// Street and number.
    pub line1: String,
    pub line2: Option<String>,
    pub city: String,
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// A shipment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    pub id: ShipmentId,
    /// Time of handing over to the carrier.
    pub shipped_at: Timestamp,
}

/// State of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Accepted, stock reserved, payment in progress.
    Pending,
    /// Payment captured.
    Paid,
    /// Shipped.
    Fulfilled,
    /// Payment finally declined; reservation released.
    PaymentFailed,
    /// Cancelled; reservation released.
    Cancelled,
    /// The whole total refunded.
    Refunded,
}

impl OrderStatus {
    /// Whether the state machine allows the transition from `self` to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Pending, Self::Paid | Self::PaymentFailed | Self::Cancelled)
                | (Self::Paid, Self::Fulfilled | Self::Cancelled | Self::Refunded)
                | (Self::Fulfilled, Self::Refunded)
        )
    }

    /// Whether an order in this state holds a stock reservation. Otherwise its flow has ended (a fulfilled order may
    /// still be refunded on request).
    pub const fn holds_reservation(self) -> bool {
        matches!(self, Self::Pending | Self::Paid)
    }
}

names!(OrderStatus, "order status", {
    Pending => "pending",
    Paid => "paid",
    Fulfilled => "fulfilled",
    PaymentFailed => "payment_failed",
    Cancelled => "cancelled",
    Refunded => "refunded",
});
