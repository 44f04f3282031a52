//! Rules of order state transitions and refunds: the answer when a guarded UPDATE found no row, and refundable amounts.

use crate::{
    audit::OrderRefund,
    domain::{EventId, Order, OrderId, OrderStatus, RefundId},
    orders::{RefundFacts, RefundRequested, RequestedRefund, Transition},
    outbox::Command,
};

/// The answer when the guarded UPDATE found no row; `been` tells whether an earlier call did the transition.
pub fn classify(order: Option<Order>, been: impl Fn(&Order) -> bool) -> Transition {
    let Some(order) = order.map(Box::new) else { return Transition::NotFound };
    if been(&order) { Transition::Already(order) } else { Transition::Refused(order) }
}

pub fn was_paid(order: &Order) -> bool {
    matches!(order.status, OrderStatus::Paid | OrderStatus::Fulfilled | OrderStatus::Refunded)
}

pub fn was_fulfilled(order: &Order) -> bool {
    order.shipment.is_some()
}

/// The recorded end of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundEnd {
    Open,
    Done,
    /// With the code of the refusal.
    Failed(String),
}

impl RefundEnd {
    /// Whether recording such an end changes nothing any more. A refund that was done stays so; one recorded as failed
    /// may turn out done, as money that moved counts.
    pub fn is_final_for(&self, facts: &RefundFacts) -> bool {
        match self {
            Self::Open => false,
            Self::Done => true,
            Self::Failed(_) => facts.failure.is_some(),
        }
    }
}

/// A stored refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRefund {
    pub end: RefundEnd,
    pub amount_minor: i64,
    /// Whether the request named no amount: it was for all that was left.
    pub remainder: bool,
}

impl KnownRefund {
    /// The answer to a request under the id of this refund.
    pub fn answer(self, order: Box<Order>, id: RefundId, amount_minor: Option<i64>) -> RefundRequested {
        let Self { end, amount_minor: known_minor, remainder } = self;
        if amount_minor != (!remainder).then_some(known_minor) {
            return RefundRequested::OtherAmount;
        }
        match end {
            RefundEnd::Failed(code) => RefundRequested::Failed { code },
            RefundEnd::Open | RefundEnd::Done => {
                let done = end == RefundEnd::Done;
                RefundRequested::Already(order, RequestedRefund { id, amount_minor: known_minor, done })
            }
        }
    }
}

/// The refunds of an order, summed up. Rows of refunds are never deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefundSums {
    /// Sum of those that are open or done.
    pub live_minor: i64,
    /// All, failed ones included.
    pub refunds: u64,
    pub failed: u64,
}

impl RefundSums {
    /// The part of a capture that is neither refunded nor on its way back.
    pub fn left_minor(&self, order: &Order, captured_minor: i64) -> i64 {
        captured_minor.min(order.total_minor).saturating_sub(self.live_minor)
    }

    /// Id of the refund that follows from cancelling. Derived from the order, so that a cancelled order is refunded
    /// once, whether the capture or the cancellation came first. After a failed refund it has another id: the sum of
    /// the open ones then keeps it from being requested twice.
    pub fn refund_of_cancelled(&self, order: &Order) -> RefundId {
        Self::of_cancelled(order.id, if self.failed == 0 { 0 } else { self.refunds })
    }

    /// Id of a refund that follows from cancelling, after so many refunds.
    pub fn of_cancelled(order: OrderId, refunds: u64) -> RefundId {
        let label = if refunds == 0 { "cancelled".to_owned() } else { format!("cancelled {refunds}") };
        RefundId::derived(order.0, &label)
    }

    pub fn is_of_cancelled(&self, order: &Order, refund: RefundId) -> bool {
        (0..=self.refunds).any(|number| Self::of_cancelled(order.id, number) == refund)
    }

    /// Whether the shipment waits for the end of refunds, as nothing of the order's price would be left.
    pub fn hold_shipment(&self, order: &Order) -> bool {
        order.total_minor > 0 && self.live_minor >= order.total_minor
    }

    /// The amount of a refund request, or why it is rejected.
    pub fn refundable(&self, order: &Order, amount_minor: Option<i64>) -> Result<i64, RefundRequested> {
        if order.total_minor == 0 {
            return Err(RefundRequested::Free);
        }
        let refundable_minor = order.total_minor.saturating_sub(self.live_minor);
        let amount_minor = amount_minor.unwrap_or(refundable_minor);
        if amount_minor > refundable_minor || refundable_minor <= 0 {
            return Err(RefundRequested::TooMuch { refundable_minor: refundable_minor.max(0) });
        }
        Ok(amount_minor)
    }
}

/// Whether the order ended without a sale, so that none of its money may stay.
pub fn is_called_off(order: &Order) -> bool {
    matches!(order.status, OrderStatus::Cancelled | OrderStatus::PaymentFailed)
}

pub fn may_be_refunded(order: &Order, captured_minor: Option<i64>) -> bool {
    matches!(order.status, OrderStatus::Paid | OrderStatus::Fulfilled)
        || (is_called_off(order) && captured_minor.is_some())
}

/// Sets on each refund the id of the command that requested it. A command that does not read back is none of these.
pub fn asked_by<F>(
    refunds: &mut [OrderRefund],
    commands: impl IntoIterator<Item = Result<(EventId, Command), F>>,
) {
    for (id, command) in commands.into_iter().flatten() {
        let Command::Refund { refund, .. } = command else { continue };
        if let Some(asked) = refunds.iter_mut().find(|asked| asked.id == refund) {
            asked.command = Some(id);
        }
    }
}
