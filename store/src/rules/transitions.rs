//! What a move answers when its guard found nothing, and how much may be given back.

use crate::{
    audit::OrderRefund,
    domain::{EventId, Order, OrderStatus, RefundId},
    orders::{RefundRequested, Transition},
    outbox::Command,
};

/// What to answer when the guarded UPDATE found nothing; `been` tells whether the order was there before.
pub(crate) fn classify(order: Option<Order>, been: impl Fn(&Order) -> bool) -> Transition {
    let Some(order) = order.map(Box::new) else { return Transition::NotFound };
    if been(&order) { Transition::Already(order) } else { Transition::Refused(order) }
}

/// Whether the order was `paid` at some time.
pub(crate) fn was_paid(order: &Order) -> bool {
    matches!(order.status, OrderStatus::Paid | OrderStatus::Fulfilled | OrderStatus::Refunded)
}

/// Whether the order was `fulfilled` at some time.
pub(crate) fn was_fulfilled(order: &Order) -> bool {
    order.shipment.is_some()
}

/// The refund that follows from cancelling: derived from the order, so that an order is given back once, whichever
/// came first, the capture or the cancellation.
pub(crate) fn refund_of_cancelled(order: &Order) -> RefundId {
    RefundId::derived(order.id.0, "cancelled")
}

/// What of a capture is not asked back already.
pub(crate) fn left_minor(order: &Order, captured_minor: i64, asked_minor: i64) -> i64 {
    captured_minor.min(order.total_minor).saturating_sub(asked_minor)
}

/// How much a wish to refund asks for, or why it is not granted. `asked_minor` is the sum of all wishes before.
pub(crate) fn refundable(
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

/// Whether a wish to refund may be granted in this state.
pub(crate) fn may_be_refunded(order: &Order) -> bool {
    matches!(order.status, OrderStatus::Paid | OrderStatus::Fulfilled)
}

/// Notes with each refund which command asked for it.
pub(crate) fn asked_by(refunds: &mut [OrderRefund], commands: &[(EventId, Command)]) {
    for (id, command) in commands {
        let Command::Refund { refund, .. } = command else { continue };
        if let Some(asked) = refunds.iter_mut().find(|asked| asked.id == *refund) {
            asked.command = Some(*id);
        }
    }
}
