//! Order state transitions: each is an UPDATE guarded by the expected state; only when no row matches is the order
//! read, to tell why. The functions are the methods of [`store::orders::Orders`].

use base::{Timestamp, sqlite::Query};
use sqlx::sqlite::SqliteRow;
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, PaymentId, ShipmentId},
    orders::{CaptureFacts, EXPIRED, Transition},
    rules::transitions::{self, was_fulfilled, was_paid},
};

use super::{fault::Result, order_row, refunds, stock, transaction::Unit};

const PAY: &str = "
    UPDATE orders SET status = 'paid', payment_id = ?2, provider_reference = ?3, captured_minor = ?4,
        event_sequence = event_sequence + 2, updated_at = ?5
    WHERE id = ?1 AND status = 'pending' RETURNING *";
const CAPTURE_LATE: &str = "
    UPDATE orders SET payment_id = ?2, provider_reference = ?3, captured_minor = ?4,
        event_sequence = event_sequence + 1, updated_at = ?5
    WHERE id = ?1 AND status IN ('cancelled', 'payment_failed') AND captured_minor IS NULL RETURNING *";
const FAIL: &str = "
    UPDATE orders SET status = 'payment_failed', status_reason = ?2,
        event_sequence = event_sequence + 1, updated_at = ?3
    WHERE id = ?1 AND status = 'pending' RETURNING *";
const FULFIL: &str = "
    UPDATE orders SET status = 'fulfilled', shipment_id = ?2, shipped_at = ?3,
        event_sequence = event_sequence + 1, updated_at = ?3
    WHERE id = ?1 AND status = 'paid' AND NOT shipment_held RETURNING *";
/// From `pending`, and from ?5.
const CANCEL: &str = "
    UPDATE orders SET status = 'cancelled', status_reason = ?3,
        event_sequence = event_sequence + 1, updated_at = ?4
    WHERE merchant_id = ?1 AND id = ?2 AND status IN ('pending', ?5) RETURNING *";
/// Pending orders above ?3 placed before ?2, those with a bank debit under way before ?5, oldest first. The redundant
/// conditions on status and id select a range of the partial index `orders_open`.
pub(super) const STALE: &str = "
    SELECT id FROM orders
    WHERE status = 'pending' AND status IN ('pending', 'paid') AND id > ?3 AND id < ?1 AND created_at < ?2
        AND (debit_at IS NULL OR created_at < ?5)
    ORDER BY id LIMIT ?4";
const EXPIRE: &str = "
    UPDATE orders SET status = 'cancelled', status_reason = ?2, event_sequence = event_sequence + 1, updated_at = ?3
    WHERE id = ?1 AND status = 'pending' AND (debit_at IS NULL OR created_at < ?4) RETURNING *";
pub(super) const NOTE_DEBIT: &str =
    "UPDATE orders SET debit_at = ?2 WHERE id = ?1 AND status = 'pending' AND debit_at IS NULL";

pub(super) async fn mark_paid(unit: &mut Unit<'_>, id: OrderId, facts: CaptureFacts) -> Result<Transition> {
    let Some(row) = unit.row(with_capture(PAY, id, &facts, unit.at_ms())).await? else {
        return not_paid(unit, id, &facts).await;
    };
    let order = order_row::order(&row)?;
    unit.messages.paid(&order, &facts);
    Ok(Transition::Now(Box::new(order)))
}

/// A capture for an order that is not pending. Where the order ended otherwise the money is refunded, once:
/// `captured_minor` tells whether the capture was recorded before.
async fn not_paid(unit: &mut Unit<'_>, id: OrderId, facts: &CaptureFacts) -> Result<Transition> {
    let Some(row) = unit.row(with_capture(CAPTURE_LATE, id, facts, unit.at_ms())).await? else {
        return classify(unit.row(order_row::by_id(id)).await?, was_paid);
    };
    let order = order_row::order(&row)?;
    unit.messages.captured_late(&order, facts);
    refunds::give_back(unit, &order, facts.amount_minor).await?;
    Ok(Transition::Refused(Box::new(order)))
}

fn with_capture(sql: &'static str, id: OrderId, facts: &CaptureFacts, at_ms: i64) -> Query<'static> {
    sqlx::query(sql)
        .bind(id.to_string())
        .bind(facts.payment.to_string())
        .bind(&facts.provider_reference)
        .bind(facts.amount_minor)
        .bind(at_ms)
}

pub(super) async fn mark_payment_failed(
    unit: &mut Unit<'_>,
    id: OrderId,
    payment: PaymentId,
    code: String,
) -> Result<Transition> {
    let query = sqlx::query(FAIL).bind(id.to_string()).bind(&code).bind(unit.at_ms());
    let Some(row) = unit.row(query).await? else {
        let been = |order: &Order| order.status == OrderStatus::PaymentFailed;
        return classify(unit.row(order_row::by_id(id)).await?, been);
    };
    let order = order_row::order(&row)?;
    stock::release(unit, &order).await?;
    unit.messages.payment_failed(&order, payment, &code);
    Ok(Transition::Now(Box::new(order)))
}

pub(super) async fn fulfil(unit: &mut Unit<'_>, id: OrderId) -> Result<Transition> {
    let shipment = ShipmentId::of_order(id).to_string();
    let query = sqlx::query(FULFIL).bind(id.to_string()).bind(shipment).bind(unit.at_ms());
    let Some(row) = unit.row(query).await? else {
        return classify(unit.row(order_row::by_id(id)).await?, was_fulfilled);
    };
    let order = order_row::order(&row)?;
    let shipped = stock::ship(unit, &order).await?;
    unit.messages.fulfilled(&order, &shipped);
    Ok(Transition::Now(Box::new(order)))
}

pub(super) async fn cancel(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    id: OrderId,
    reason: String,
    latest: OrderStatus,
) -> Result<Transition> {
    let query = sqlx::query(CANCEL).bind(merchant.to_string()).bind(id.to_string());
    let query = query.bind(reason).bind(unit.at_ms()).bind(latest.as_str());
    let Some(row) = unit.row(query).await? else {
        let found = unit.row(order_row::of_merchant(merchant, id)).await?;
        return classify(found, |order| order.status == OrderStatus::Cancelled);
    };
    Ok(Transition::Now(Box::new(called_off(unit, &row).await?)))
}

pub(super) async fn expire(
    unit: &mut Unit<'_>,
    id: OrderId,
    debits_before: Option<Timestamp>,
) -> Result<bool> {
    let query = sqlx::query(EXPIRE).bind(id.to_string()).bind(EXPIRED).bind(unit.at_ms());
    let query = query.bind(debits_before.map(Timestamp::as_millisecond));
    let Some(row) = unit.row(query).await? else { return Ok(false) };
    called_off(unit, &row).await?;
    Ok(true)
}

/// The effects of a cancellation: releases the stock, refunds a captured amount and adds the events.
async fn called_off(unit: &mut Unit<'_>, row: &SqliteRow) -> Result<Order> {
    let order = order_row::order(row)?;
    stock::release(unit, &order).await?;
    unit.messages.cancelled(&order);
    if let Some(captured_minor) = order_row::captured_minor(row)? {
        refunds::give_back(unit, &order, captured_minor).await?;
    }
    Ok(order)
}

/// The result when the guarded UPDATE matched no row.
fn classify(row: Option<SqliteRow>, been: impl Fn(&Order) -> bool) -> Result<Transition> {
    Ok(transitions::classify(row.as_ref().map(order_row::order).transpose()?, been))
}
