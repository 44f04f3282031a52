//! Order state transitions: each is an UPDATE guarded by the expected state, which locks the order; only when no row
//! matches is the order read, to tell why. The functions are the methods of [`store::orders::Orders`].

use base::{
    Timestamp,
    ids::{Uuid, floor},
    postgres::{Database, Query},
};
use sqlx::postgres::PgRow;
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, PaymentId, ShipmentId},
    orders::{CaptureFacts, EXPIRED, Stale, Transition},
    rules::{
        columns::Columns,
        transitions::{classify, was_fulfilled, was_paid},
    },
};

use super::{
    fault::Result,
    order_row::{self, columns},
    refunds, stock,
    timestamps::Moment,
    transaction::Unit,
};

pub(super) const PAY: &str = concat!(
    "UPDATE orders SET status = 'paid', payment_id = $2, provider_reference = $3, captured_minor = $4,
         event_sequence = event_sequence + 2, updated_at = $5
     WHERE id = $1 AND status = 'pending' RETURNING ",
    columns!()
);
const CAPTURE_LATE: &str = concat!(
    "UPDATE orders SET payment_id = $2, provider_reference = $3, captured_minor = $4,
         event_sequence = event_sequence + 1, updated_at = $5
     WHERE id = $1 AND status IN ('cancelled', 'payment_failed') AND captured_minor IS NULL RETURNING ",
    columns!()
);
const FAIL: &str = concat!(
    "UPDATE orders SET status = 'payment_failed', status_reason = $2,
         event_sequence = event_sequence + 1, updated_at = $3
     WHERE id = $1 AND status = 'pending' RETURNING ",
    columns!()
);
const FULFIL: &str = concat!(
    "UPDATE orders SET status = 'fulfilled', shipment_id = $2, shipped_at = $3,
         event_sequence = event_sequence + 1, updated_at = $3
     WHERE id = $1 AND status = 'paid' AND NOT shipment_held RETURNING ",
    columns!()
);
/// From `pending`, and from $5.
const CANCEL: &str = concat!(
    "UPDATE orders SET status = 'cancelled', status_reason = $3,
         event_sequence = event_sequence + 1, updated_at = $4
     WHERE id = $1 AND merchant_id = $2 AND status IN ('pending', $5) RETURNING ",
    columns!()
);
pub(super) const STALE: &str = "
    SELECT id FROM orders WHERE status = 'pending' AND id > $3 AND id < $1 AND created_at < $2
        AND (debit_at IS NULL OR created_at < $5)
        AND EXISTS (SELECT 1 FROM merchants AS m WHERE m.id = merchant_id AND m.state IN ('active', 'moving'))
    ORDER BY id LIMIT $4";
pub(super) const EXPIRE: &str = concat!(
    "UPDATE orders SET status = 'cancelled', status_reason = $2, event_sequence = event_sequence + 1, updated_at = $3
     WHERE id = $1 AND status = 'pending' AND (debit_at IS NULL OR created_at < $4) RETURNING ",
    columns!()
);
const NOTE_DEBIT: &str =
    "UPDATE orders SET debit_at = $2 WHERE id = $1 AND status = 'pending' AND debit_at IS NULL";

pub(super) async fn mark_paid(
    unit: &mut Unit,
    id: OrderId,
    facts: &CaptureFacts,
    at: Timestamp,
) -> Result<Transition> {
    let Some(row) = unit.row(with_capture(PAY, id, facts, at)).await? else {
        return not_paid(unit, id, facts, at).await;
    };
    let order = order_row::order(&row)?;
    unit.messages(at).paid(&order, facts);
    Ok(Transition::Now(Box::new(order)))
}

/// A capture for an order that is not pending. Where the order ended otherwise the money is refunded, once:
/// `captured_minor` tells whether the capture was recorded before.
async fn not_paid(unit: &mut Unit, id: OrderId, facts: &CaptureFacts, at: Timestamp) -> Result<Transition> {
    let Some(row) = unit.row(with_capture(CAPTURE_LATE, id, facts, at)).await? else {
        return Ok(classify(order_row::find(unit, id).await?, was_paid));
    };
    let order = order_row::order(&row)?;
    unit.messages(at).captured_late(&order, facts);
    refunds::give_back(unit, &order, facts.amount_minor, at).await?;
    Ok(Transition::Refused(Box::new(order)))
}

fn with_capture(sql: &'static str, id: OrderId, facts: &CaptureFacts, at: Timestamp) -> Query<'static> {
    sqlx::query(sql)
        .bind(id.0)
        .bind(facts.payment.0)
        .bind(facts.provider_reference.clone())
        .bind(facts.amount_minor)
        .bind(Moment(at))
}

pub(super) async fn mark_payment_failed(
    unit: &mut Unit,
    id: OrderId,
    (payment, code): (PaymentId, &str),
    at: Timestamp,
) -> Result<Transition> {
    let query = sqlx::query(FAIL).bind(id.0).bind(code).bind(Moment(at));
    let Some(row) = unit.row(query).await? else {
        let been = |order: &Order| order.status == OrderStatus::PaymentFailed;
        return Ok(classify(order_row::find(unit, id).await?, been));
    };
    let order = order_row::order(&row)?;
    stock::release(unit, &order, at).await?;
    unit.messages(at).payment_failed(&order, payment, code);
    Ok(Transition::Now(Box::new(order)))
}

pub(super) async fn fulfil(unit: &mut Unit, id: OrderId, at: Timestamp) -> Result<Transition> {
    let query = sqlx::query(FULFIL).bind(id.0).bind(ShipmentId::of_order(id).0).bind(Moment(at));
    let Some(row) = unit.row(query).await? else {
        return Ok(classify(order_row::find(unit, id).await?, was_fulfilled));
    };
    let order = order_row::order(&row)?;
    let shipped = stock::ship(unit, &order, at).await?;
    unit.messages(at).fulfilled(&order, &shipped);
    Ok(Transition::Now(Box::new(order)))
}

pub(super) async fn cancel(
    unit: &mut Unit,
    (merchant, id): (MerchantId, OrderId),
    latest: OrderStatus,
    reason: &str,
    at: Timestamp,
) -> Result<Transition> {
    let query = sqlx::query(CANCEL).bind(id.0).bind(merchant.0).bind(reason).bind(Moment(at));
    let query = query.bind(latest.as_str());
    let Some(row) = unit.row(query).await? else {
        let found = unit.row(sqlx::query(order_row::OF_MERCHANT).bind(id.0).bind(merchant.0)).await?;
        let found = found.as_ref().map(order_row::order).transpose()?;
        return Ok(classify(found, |order| order.status == OrderStatus::Cancelled));
    };
    Ok(Transition::Now(Box::new(called_off(unit, &row, at).await?)))
}

/// Orders of one database to expire, oldest first.
pub(super) async fn stale(
    database: &Database,
    stale: Stale,
    after: Option<OrderId>,
    limit: u32,
) -> Result<Vec<OrderId>> {
    let after = after.map_or(Uuid::nil(), |id| id.0);
    let query = sqlx::query(STALE)
        .bind(floor(stale.before))
        .bind(Moment(stale.before))
        .bind(after)
        .bind(i64::from(limit))
        .bind(stale.debits_before.map(Moment));
    database.rows(query).await?.iter().map(|row| row.id("id", OrderId)).collect()
}

pub(super) async fn note_debit(unit: &mut Unit, id: OrderId, at: Timestamp) -> Result<()> {
    unit.run(sqlx::query(NOTE_DEBIT).bind(id.0).bind(Moment(at))).await?;
    Ok(())
}

pub(super) async fn expire(
    unit: &mut Unit,
    id: OrderId,
    debits_before: Option<Timestamp>,
    at: Timestamp,
) -> Result<bool> {
    let query = sqlx::query(EXPIRE).bind(id.0).bind(EXPIRED).bind(Moment(at)).bind(debits_before.map(Moment));
    let Some(row) = unit.row(query).await? else { return Ok(false) };
    called_off(unit, &row, at).await?;
    Ok(true)
}

/// The effects of a cancellation: releases the stock, refunds a captured amount and writes the events.
async fn called_off(unit: &mut Unit, row: &PgRow, at: Timestamp) -> Result<Order> {
    let order = order_row::order(row)?;
    stock::release(unit, &order, at).await?;
    unit.messages(at).cancelled(&order);
    if let Some(captured_minor) = order_row::captured_minor(row)? {
        refunds::give_back(unit, &order, captured_minor, at).await?;
    }
    Ok(order)
}
