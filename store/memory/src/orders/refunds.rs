//! Refunds in memory: the request with its command, and the record of its end at the provider.

use base::{Ambient, Timestamp};
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, RefundId},
    orders::{DisputeFacts, RefundFacts, RefundRequested, RequestedRefund, Transition},
    outbox::{Command, OutboxBody},
    rules::{
        Damage,
        messages::Messages,
        transitions::{self, KnownRefund, RefundEnd, RefundSums},
    },
};

use super::state::{OrderRow, OrdersState, OutboxRow, RefundRow};

impl RefundRow {
    fn end(&self) -> RefundEnd {
        match &self.failed {
            Some((_, code)) => RefundEnd::Failed(code.clone()),
            None if self.recorded_at.is_some() => RefundEnd::Done,
            None => RefundEnd::Open,
        }
    }

    fn known(&self) -> KnownRefund {
        KnownRefund { end: self.end(), amount_minor: self.amount_minor, remainder: self.remainder }
    }
}

/// Requests a refund for a cancelled order: the part of `captured_minor` that is neither refunded nor on its way back.
pub(super) fn give_back(
    state: &mut OrdersState,
    messages: &mut Messages,
    order: &Order,
    captured_minor: i64,
) -> Result<(), Damage> {
    let sums = sums(state, order.id);
    let left_minor = sums.left_minor(order, captured_minor);
    if left_minor <= 0 {
        return Ok(());
    }
    ask(state, messages, order, (sums.refund_of_cancelled(order), left_minor), false)
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
    if let Some(known) = state.refunds.get(&(id, refund)).map(RefundRow::known) {
        return Ok(known.answer(order, refund, amount_minor));
    }
    let captured_minor = state.orders.get(&id).and_then(OrderRow::captured_minor);
    if !transitions::may_be_refunded(&order, captured_minor) {
        return Ok(RefundRequested::Refused(order));
    }
    let remainder = amount_minor.is_none();
    let amount_minor = match sums(state, id).refundable(&order, amount_minor) {
        Ok(amount_minor) => amount_minor,
        Err(answer) => return Ok(answer),
    };
    let mut messages = Messages::new(ambient, at);
    ask(state, &mut messages, &order, (refund, amount_minor), remainder)?;
    state.tell(messages)?;
    Ok(RefundRequested::Accepted(order, RequestedRefund { id: refund, amount_minor, done: false }))
}

pub(super) fn record(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    facts: &RefundFacts,
    at: Timestamp,
) -> Result<Transition, Damage> {
    let Some(before) = state.find_order(id) else { return Ok(Transition::NotFound) };
    if state.refunds.get(&(id, facts.refund)).is_some_and(|known| known.end().is_final_for(facts)) {
        return Ok(Transition::Already(Box::new(before)));
    }
    let captured_minor = state.orders.get(&id).and_then(OrderRow::captured_minor);
    let sum = before.refunded_minor.checked_add(facts.amount_minor);
    let fits = facts.failure.is_some() || sum.is_some_and(|sum| sum <= before.total_minor);
    let open = !matches!(before.status, OrderStatus::Pending | OrderStatus::Refunded);
    if captured_minor.is_none() || facts.amount_minor <= 0 || !fits || !(open || facts.failure.is_some()) {
        return Ok(Transition::Refused(Box::new(before)));
    }
    let order = state.change_order(id, at, |row| {
        let order = &mut row.order;
        if facts.failure.is_some() {
            order.event_sequence += 1;
            return;
        }
        order.refunded_minor += facts.amount_minor;
        let paid = matches!(order.status, OrderStatus::Paid | OrderStatus::Fulfilled);
        let all = paid && order.refunded_minor == order.total_minor;
        order.status = if all { OrderStatus::Refunded } else { order.status };
        order.event_sequence += 1 + u64::from(all);
    })?;
    let known = state.refunds.get(&(id, facts.refund));
    let requested_at = known.map_or(at, |known| known.requested_at);
    let remainder = known.is_some_and(|known| known.remainder);
    let failed = facts.failure.clone().map(|code| (at, code));
    let recorded_at = failed.is_none().then_some(at);
    let kept = RefundRow { amount_minor: facts.amount_minor, remainder, requested_at, recorded_at, failed };
    state.refunds.insert((id, facts.refund), kept);
    let mut messages = Messages::new(ambient, at);
    messages.refund_ended(&order, captured_minor, facts);
    if let (true, Some(captured_minor)) = (transitions::is_called_off(&order), captured_minor)
        && facts.failure.is_some()
        && !sums(state, id).is_of_cancelled(&order, facts.refund)
    {
        give_back(state, &mut messages, &order, captured_minor)?;
    }
    // A refund that fails changes no state: what it finds refunded has freed its stock.
    if facts.failure.is_none() && order.status == OrderStatus::Refunded && order.shipment.is_none() {
        state.release(&order, at)?;
    }
    state.tell(messages)?;
    Ok(Transition::Now(Box::new(order)))
}

pub(super) fn record_dispute(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    facts: &DisputeFacts,
    at: Timestamp,
) -> Result<Transition, Damage> {
    let Some(before) = state.find_order(id) else { return Ok(Transition::NotFound) };
    let is_told =
        |row: &OutboxRow| matches!(&row.body, OutboxBody::Event(event) if event.id == facts.event(id));
    if state.outbox.iter().any(is_told) {
        return Ok(Transition::Already(Box::new(before)));
    }
    let captured_minor = state.orders.get(&id).and_then(OrderRow::captured_minor);
    if captured_minor.is_none() {
        return Ok(Transition::Refused(Box::new(before)));
    }
    let order = state.change_order(id, at, |row| row.order.event_sequence += 1)?;
    let mut messages = Messages::new(ambient, at);
    messages.disputed(&order, captured_minor, facts);
    state.tell(messages)?;
    Ok(Transition::Now(Box::new(order)))
}

fn ask(
    state: &mut OrdersState,
    messages: &mut Messages,
    order: &Order,
    (refund, amount_minor): (RefundId, i64),
    remainder: bool,
) -> Result<(), Damage> {
    if state.refunds.contains_key(&(order.id, refund)) {
        return Err(Damage(format!("refund {refund} of order {} is requested twice", order.id)));
    }
    let requested_at = messages.at;
    let asked = RefundRow { amount_minor, remainder, requested_at, recorded_at: None, failed: None };
    state.refunds.insert((order.id, refund), asked);
    messages.command(order, &Command::Refund { order: order.id, refund, amount_minor })
}

pub(super) fn sums(state: &OrdersState, order: OrderId) -> RefundSums {
    let of_order = state.refunds.iter().filter(|((of, _), _)| *of == order);
    let mut sums = RefundSums::default();
    for (_, refund) in of_order {
        sums.refunds += 1;
        if refund.failed.is_some() && !state.counts_failed_refunds {
            sums.failed += 1;
        } else {
            sums.live_minor += refund.amount_minor;
        }
    }
    sums
}
