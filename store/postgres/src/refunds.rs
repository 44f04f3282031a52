//! Refunds: the request (with its command), and the record of the refund made by the provider.
//!
//! Guarantees: a refund counts once by its id; neither the requested nor the recorded sum ever exceeds the order's
//! total. The order is locked first, so its refunds cannot change before the commit.

use base::Timestamp;
use sqlx::postgres::PgRow;
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, RefundId},
    orders::{RefundFacts, RefundRequested, Transition},
    outbox::Command,
    rules::transitions,
};

use super::{
    fault::PostgresFault,
    order_row::{self, columns},
    row::get,
    stock,
    timestamps::Moment,
    transaction::Unit,
};

const GIVE: &str = concat!(
    "UPDATE orders SET refunded_minor = refunded_minor + $2, updated_at = $3,
         status = CASE WHEN status IN ('paid', 'fulfilled') AND refunded_minor + $2 = total_minor THEN 'refunded' ELSE status END,
         event_sequence = event_sequence
             + CASE WHEN status IN ('paid', 'fulfilled') AND refunded_minor + $2 = total_minor THEN 2 ELSE 1 END
     WHERE id = $1 AND status IN ('paid', 'fulfilled', 'cancelled', 'payment_failed') AND captured_minor IS NOT NULL
         AND $2 > 0 AND refunded_minor + $2 <= total_minor
     RETURNING ",
    columns!()
);
const KEEP: &str = "
    INSERT INTO refunds (order_id, id, amount_minor, requested_at, recorded_at) VALUES ($1, $2, $3, $4, $4)
    ON CONFLICT (order_id, id) DO UPDATE SET amount_minor = $3, recorded_at = $4";
const ASK: &str = "INSERT INTO refunds (order_id, id, amount_minor, requested_at) VALUES ($1, $2, $3, $4)";
pub(super) const KNOWN: &str = "SELECT recorded_at FROM refunds WHERE order_id = $1 AND id = $2";
// The sum of a bigint column is numeric; the cast converts it back.
pub(super) const ASKED: &str =
    "SELECT coalesce(sum(amount_minor), 0)::bigint AS asked FROM refunds WHERE order_id = $1";

/// Requests a refund of a cancelled order: the part of `captured_minor` that is not requested yet. False when there is
/// none.
pub(super) async fn give_back(
    unit: &mut Unit,
    order: &Order,
    captured_minor: i64,
    at: Timestamp,
) -> Result<bool, PostgresFault> {
    let left_minor = transitions::left_minor(order, captured_minor, asked_minor(unit, order.id).await?);
    if left_minor <= 0 {
        return Ok(false);
    }
    ask(unit, order, transitions::refund_of_cancelled(order), left_minor, at).await?;
    Ok(true)
}

/// See [`store::orders::Orders::request_refund`].
pub(super) async fn request(
    unit: &mut Unit,
    (merchant, id): (MerchantId, OrderId),
    (refund, amount_minor): (RefundId, Option<i64>),
    at: Timestamp,
) -> Result<RefundRequested, PostgresFault> {
    let order = order_row::lock(unit, id).await?.filter(|order| order.merchant == merchant);
    let Some(order) = order.map(Box::new) else { return Ok(RefundRequested::NotFound) };
    if known(unit, id, refund).await?.is_some() {
        return Ok(RefundRequested::Already(order, refund));
    }
    if !transitions::may_be_refunded(&order) {
        return Ok(RefundRequested::Refused(order));
    }
    let amount_minor = match transitions::refundable(&order, asked_minor(unit, id).await?, amount_minor) {
        Ok(amount_minor) => amount_minor,
        Err(answer) => return Ok(answer),
    };
    ask(unit, &order, refund, amount_minor, at).await?;
    Ok(RefundRequested::Accepted(order, refund))
}

/// See [`store::orders::Orders::record_refund`].
pub(super) async fn record(
    unit: &mut Unit,
    id: OrderId,
    facts: &RefundFacts,
    at: Timestamp,
) -> Result<Transition, PostgresFault> {
    let Some(before) = order_row::lock(unit, id).await?.map(Box::new) else {
        return Ok(Transition::NotFound);
    };
    if let Some(known) = known(unit, id, facts.refund).await?
        && get::<Option<Moment>>(&known, "recorded_at")?.is_some()
    {
        return Ok(Transition::Already(before));
    }
    let query = sqlx::query(GIVE).bind(id.0).bind(facts.amount_minor).bind(Moment(at));
    let Some(row) = unit.row(query).await? else { return Ok(Transition::Refused(before)) };
    let query = sqlx::query(KEEP).bind(id.0).bind(facts.refund.0).bind(facts.amount_minor).bind(Moment(at));
    unit.run(query).await?;
    let order = order_row::order(&row)?;
    if order.status == OrderStatus::Refunded && order.shipment.is_none() {
        stock::release(unit, &order, at).await?;
    }
    unit.messages(at).refunded(&order, order_row::captured_minor(&row)?, facts);
    Ok(Transition::Now(Box::new(order)))
}

async fn ask(
    unit: &mut Unit,
    order: &Order,
    refund: RefundId,
    amount_minor: i64,
    at: Timestamp,
) -> Result<(), PostgresFault> {
    let query = sqlx::query(ASK).bind(order.id.0).bind(refund.0).bind(amount_minor).bind(Moment(at));
    unit.run(query).await?;
    Ok(unit.messages(at).command(order, &Command::Refund { order: order.id, refund, amount_minor })?)
}

async fn known(unit: &mut Unit, order: OrderId, refund: RefundId) -> Result<Option<PgRow>, PostgresFault> {
    unit.row(sqlx::query(KNOWN).bind(order.0).bind(refund.0)).await
}

async fn asked_minor(unit: &mut Unit, order: OrderId) -> Result<i64, PostgresFault> {
    let row = unit.row(sqlx::query(ASKED).bind(order.0)).await?;
    row.map_or(Ok(0), |row| get(&row, "asked"))
}
