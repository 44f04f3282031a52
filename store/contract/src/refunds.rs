//! Refunds and disputes of orders: what the order store is asked and told. See [`crate::orders::Orders`].

use crate::domain::{EventId, Order, OrderId, PaymentId, RefundId};

/// The end of a refund, as the order store records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundFacts {
    pub payment: PaymentId,
    /// The refund; recording the same one again changes nothing.
    pub refund: RefundId,
    /// In minor units.
    pub amount_minor: i64,
    /// The code of a refusal by the provider; `None`: refunded.
    pub failure: Option<String>,
}

/// A state of a dispute that the provider reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeFacts {
    pub payment: PaymentId,
    /// The provider's id of the dispute.
    pub reference: String,
    /// The provider's word, such as `needs_response`, `won` or `lost`.
    pub status: String,
    /// The provider's code of the customer's reason.
    pub reason: String,
}

impl DisputeFacts {
    /// Id of the event that tells of this state.
    pub fn event(&self, order: OrderId) -> EventId {
        EventId::derived(order.0, &format!("dispute {} {}", self.reference, self.status))
    }
}

/// A stored refund request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedRefund {
    pub id: RefundId,
    /// In minor units.
    pub amount_minor: i64,
    /// Whether the money is refunded.
    pub done: bool,
}

/// Result of [`request_refund`](crate::orders::Orders::request_refund).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundRequested {
    /// Stored; the command is in the outbox.
    Accepted(Box<Order>, RequestedRefund),
    /// The same refund was requested before, and is open or done.
    Already(Box<Order>, RequestedRefund),
    /// A refund of another amount was requested under this id.
    OtherAmount,
    /// The same refund was requested before, and failed.
    Failed {
        /// The code of the refusal.
        code: String,
    },
    /// More than the refundable remainder of the total.
    TooMuch {
        /// The refundable remainder, in minor units.
        refundable_minor: i64,
    },
    /// The order's total is 0: nothing was charged.
    Free,
    /// The order's state allows no refund.
    Refused(Box<Order>),
    /// No such order of this merchant.
    NotFound,
}
