//! Order state transitions in memory, each guarded by the state it expects.

use base::{Ambient, Timestamp};
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, OrderToken, PaymentId, Shipment, ShipmentId},
    orders::{CaptureFacts, EXPIRED, Transition},
    rules::{
        Damage,
        messages::Messages,
        stock::{Stock, of_order},
        transitions::{self, was_fulfilled, was_paid},
    },
};

use super::{
    refunds,
    state::{OrderRow, OrdersState},
};

pub(super) fn mark_paid(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    facts: &CaptureFacts,
    at: Timestamp,
) -> Result<Transition, Damage> {
    let status = state.orders.get(&id).map(|row| (row.order.status, row.captured_minor()));
    let mut messages = Messages::new(ambient, at);
    match status {
        Some((OrderStatus::Pending, _)) => {
            let order = captured(state, id, at, facts, (OrderStatus::Paid, 2))?;
            messages.paid(&order, facts);
            state.tell(messages)?;
            Ok(Transition::Now(Box::new(order)))
        }
        // A capture for an order that ended otherwise is refunded, once.
        Some((ended @ (OrderStatus::Cancelled | OrderStatus::PaymentFailed), None)) => {
            let order = captured(state, id, at, facts, (ended, 1))?;
            messages.captured_late(&order, facts);
            refunds::give_back(state, &mut messages, &order, facts.amount_minor)?;
            state.tell(messages)?;
            Ok(Transition::Refused(Box::new(order)))
        }
        _ => Ok(transitions::classify(state.find_order(id), was_paid)),
    }
}

pub(super) fn mark_payment_failed(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    (payment, code): (PaymentId, &str),
    at: Timestamp,
) -> Result<Transition, Damage> {
    if state.find_order(id).is_none_or(|order| order.status != OrderStatus::Pending) {
        return Ok(transitions::classify(state.find_order(id), |order| {
            order.status == OrderStatus::PaymentFailed
        }));
    }
    let order = with_reason(state, id, at, OrderStatus::PaymentFailed, code)?;
    state.release(&order, at)?;
    let mut messages = Messages::new(ambient, at);
    messages.payment_failed(&order, payment, code);
    state.tell(messages)?;
    Ok(Transition::Now(Box::new(order)))
}

pub(super) fn fulfil(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    at: Timestamp,
) -> Result<Transition, Damage> {
    let held = |order: &Order| refunds::sums(state, id).hold_shipment(order);
    if state.find_order(id).is_none_or(|order| order.status != OrderStatus::Paid || held(&order)) {
        return Ok(transitions::classify(state.find_order(id), was_fulfilled));
    }
    let shipment = Shipment { id: ShipmentId::of_order(id), shipped_at: at };
    let order = state.change_order(id, at, |row| {
        let order = &mut row.order;
        order.status = OrderStatus::Fulfilled;
        order.shipment = Some(shipment);
        order.event_sequence += 1;
    })?;
    let mut messages = Messages::new(ambient, at);
    messages.fulfilled(&order, &ship(state, &order, at)?);
    state.tell(messages)?;
    Ok(Transition::Now(Box::new(order)))
}

pub(super) fn cancel(
    state: &mut OrdersState,
    ambient: &Ambient,
    (merchant, id): (MerchantId, OrderId),
    latest: OrderStatus,
    reason: &str,
    at: Timestamp,
) -> Result<Transition, Damage> {
    let found = state.find_order(id).filter(|order| order.merchant == merchant);
    if found.as_ref().is_none_or(|order| ![OrderStatus::Pending, latest].contains(&order.status)) {
        return Ok(transitions::classify(found, |order| order.status == OrderStatus::Cancelled));
    }
    let order = call_off(state, ambient, id, reason, at)?;
    Ok(Transition::Now(Box::new(order)))
}

/// See [`store::orders::Orders::expire_order`].
pub(super) fn expire(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    debits_before: Option<Timestamp>,
    at: Timestamp,
) -> Result<bool, Damage> {
    if state.orders.get(&id).is_none_or(|row| !row.may_expire(debits_before)) {
        return Ok(false);
    }
    call_off(state, ambient, id, EXPIRED, at)?;
    Ok(true)
}

/// See [`store::orders::Orders::note_debit`].
pub(super) fn note_debit(state: &mut OrdersState, id: OrderId) -> Result<(), Damage> {
    let Some(order) = state.find_order(id).filter(|order| order.status == OrderStatus::Pending) else {
        return Ok(());
    };
    state.change_order(id, order.updated_at, |row| row.has_debit = true)?;
    Ok(())
}

/// See [`store::orders::Orders::replace_order_token`].
pub(super) fn replace_token(
    state: &mut OrdersState,
    (merchant, id): (MerchantId, OrderId),
    token: Option<OrderToken>,
) -> Result<bool, Damage> {
    let Some(order) = state.find_order(id).filter(|order| order.merchant == merchant) else {
        return Ok(false);
    };
    state.change_order(id, order.updated_at, |row| row.order.token = token)?;
    Ok(true)
}

/// Cancels an order: releases its reservation, refunds its capture and writes its events.
fn call_off(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    reason: &str,
    at: Timestamp,
) -> Result<Order, Damage> {
    let order = with_reason(state, id, at, OrderStatus::Cancelled, reason)?;
    state.release(&order, at)?;
    let mut messages = Messages::new(ambient, at);
    messages.cancelled(&order);
    if let Some(captured_minor) = state.orders.get(&id).and_then(OrderRow::captured_minor) {
        refunds::give_back(state, &mut messages, &order, captured_minor)?;
    }
    state.tell(messages)?;
    Ok(order)
}

/// Takes the reserved units of an order out of stock.
fn ship(state: &mut OrdersState, order: &Order, at: Timestamp) -> Result<Vec<Stock>, Damage> {
    let ship = |(sku, quantity): (&str, i64)| {
        state.change_product(order.merchant, sku, at, |row| {
            row.product.reserved -= quantity;
            row.product.on_hand -= quantity;
            row.event_sequence += 1;
        })
    };
    of_order(order).into_iter().map(ship).collect()
}

/// Records a capture, with the resulting status and the number of events it writes.
fn captured(
    state: &mut OrdersState,
    id: OrderId,
    at: Timestamp,
    facts: &CaptureFacts,
    (status, events): (OrderStatus, u64),
) -> Result<Order, Damage> {
    state.change_order(id, at, |row| {
        row.capture = Some(facts.clone());
        row.order.status = status;
        row.order.event_sequence += events;
    })
}

fn with_reason(
    state: &mut OrdersState,
    id: OrderId,
    at: Timestamp,
    status: OrderStatus,
    reason: &str,
) -> Result<Order, Damage> {
    state.change_order(id, at, |row| {
        let order = &mut row.order;
        order.status = status;
        order.status_reason = Some(reason.to_owned());
        order.event_sequence += 1;
    })
}
