//! Refunds in memory: the request with its command, and the record of the provider's result.

use base::{Ambient, Timestamp};
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, RefundId},
    orders::{RefundFacts, RefundRequested, Transition},
    outbox::Command,
    rules::{Damage, messages::Messages, transitions},
};

use super::state::{OrderRow, OrdersState, RefundRow};

/// Requests a refund for a cancelled order: the part of `captured_minor` not requested yet.
pub(super) fn give_back(
    state: &mut OrdersState,
    messages: &mut Messages,
    order: &Order,
    captured_minor: i64,
) -> Result<(), Damage> {
    let left_minor = transitions::left_minor(order, captured_minor, asked_minor(state, order.id));
    if left_minor <= 0 {
        return Ok(());
    }
    ask(state, messages, order, transitions::refund_of_cancelled(order), left_minor)
}

pub(super) fn request(
    state: &mut OrdersState,
    ambient: &Ambient,
    (merchant, id): (MerchantId, OrderId),
    (refund, amount_minor): (RefundId, Option<i64>),
    at: Timestamp,
) -> Result<RefundRequested, Damage> {
    let Some(order) = state.find_order(id).filter(|order| order.merchant == merchant).map(Box::new) else {
        return Ok(RefundRequested::NotFound);
    };
    if state.refunds.contains_key(&(id, refund)) {
        return Ok(RefundRequested::Already(order, refund));
    }
    if !transitions::may_be_refunded(&order) {
        return Ok(RefundRequested::Refused(order));
    }
    let amount_minor = match transitions::refundable(&order, asked_minor(state, id), amount_minor) {
        Ok(amount_minor) => amount_minor,
        Err(answer) => return Ok(answer),
    };
    let mut messages = Messages::new(ambient, at);
    ask(state, &mut messages, &order, refund, amount_minor)?;
    state.tell(messages)?;
    Ok(RefundRequested::Accepted(order, refund))
}

pub(super) fn record(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    facts: &RefundFacts,
    at: Timestamp,
) -> Result<Transition, Damage> {
    let Some(before) = state.find_order(id) else { return Ok(Transition::NotFound) };
    if state.refunds.get(&(id, facts.refund)).is_some_and(|known| known.recorded_at.is_some()) {
        return Ok(Transition::Already(Box::new(before)));
    }
    let captured_minor = state.orders.get(&id).and_then(OrderRow::captured_minor);
    let sum = before.refunded_minor.checked_add(facts.amount_minor);
    let fits = facts.amount_minor > 0 && sum.is_some_and(|sum| sum <= before.total_minor);
    let open = !matches!(before.status, OrderStatus::Pending | OrderStatus::Refunded);
    if captured_minor.is_none() || !fits || !open {
        return Ok(Transition::Refused(Box::new(before)));
    }
    let order = state.change_order(id, at, |row| {
        let order = &mut row.order;
        order.refunded_minor += facts.amount_minor;
        let paid = matches!(order.status, OrderStatus::Paid | OrderStatus::Fulfilled);
        let all = paid && order.refunded_minor == order.total_minor;
        order.status = if all { OrderStatus::Refunded } else { order.status };
        order.event_sequence += 1 + u64::from(all);
    })?;
    let known = state.refunds.get(&(id, facts.refund));
    let requested_at = known.map_or(at, |known| known.requested_at);
    let kept = RefundRow { amount_minor: facts.amount_minor, requested_at, recorded_at: Some(at) };
    state.refunds.insert((id, facts.refund), kept);
    let mut messages = Messages::new(ambient, at);
    messages.refunded(&order, captured_minor, facts);
    if order.status == OrderStatus::Refunded && order.shipment.is_none() {
        state.release(&order, at)?;
    }
    state.tell(messages)?;
    Ok(Transition::Now(Box::new(order)))
}

fn ask(
    state: &mut OrdersState,
    messages: &mut Messages,
    order: &Order,
    refund: RefundId,
    amount_minor: i64,
) -> Result<(), Damage> {
    if state.refunds.contains_key(&(order.id, refund)) {
        return Err(Damage(format!("refund {refund} of order {} is requested twice", order.id)));
    }
    let asked = RefundRow { amount_minor, requested_at: messages.at, recorded_at: None };
    state.refunds.insert((order.id, refund), asked);
    messages.command(order, &Command::Refund { order: order.id, refund, amount_minor })
}

fn asked_minor(state: &OrdersState, order: OrderId) -> i64 {
    let of_order = state.refunds.iter().filter(|((of, _), _)| *of == order);
    of_order.map(|(_, refund)| refund.amount_minor).sum()
}
