//! Rules of order state transitions and refunds: the answer when a guarded UPDATE found no row, and refundable amounts.

use crate::{
    audit::OrderRefund,
    domain::{EventId, Order, OrderStatus, RefundId},
    orders::{RefundRequested, Transition},
    outbox::Command,
};

/// The answer when the guarded UPDATE found no row; `been` tells whether an earlier call did the transition.
pub fn classify(order: Option<Order>, been: impl Fn(&Order) -> bool) -> Transition {
    let Some(order) = order.map(Box::new) else { return Transition::NotFound };
    if been(&order) { Transition::Already(order) } else { Transition::Refused(order) }
}

/// Whether the order has been `paid`.
pub fn was_paid(order: &Order) -> bool {
    matches!(order.status, OrderStatus::Paid | OrderStatus::Fulfilled | OrderStatus::Refunded)
}

/// Whether the order has been `fulfilled`.
pub fn was_fulfilled(order: &Order) -> bool {
    order.shipment.is_some()
}

/// The refund that follows from cancelling. Derived from the order, so that a cancelled order is refunded once, whether
/// the capture or the cancellation came first.
pub fn refund_of_cancelled(order: &Order) -> RefundId {
    RefundId::derived(order.id.0, "cancelled")
}

/// The part of a capture for which no refund was requested yet.
pub fn left_minor(order: &Order, captured_minor: i64, asked_minor: i64) -> i64 {
    captured_minor.min(order.total_minor).saturating_sub(asked_minor)
}

/// The amount of a refund request, or why it is rejected. `asked_minor` is the sum of all earlier requests.
pub fn refundable(
    order: &Order,
    asked_minor: i64,
    amount_minor: Option<i64>,
) -> Result<i64, RefundRequested> {
    let refundable_minor = order.total_minor.saturating_sub(asked_minor);
    let amount_minor = amount_minor.unwrap_or(refundable_minor);
    if amount_minor > refundable_minor || refundable_minor <= 0 {
        return Err(RefundRequested::TooMuch { refundable_minor: refundable_minor.max(0) });
    }
    Ok(amount_minor)
}

/// Whether the order's state allows a refund request.
pub fn may_be_refunded(order: &Order) -> bool {
    matches!(order.status, OrderStatus::Paid | OrderStatus::Fulfilled)
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
