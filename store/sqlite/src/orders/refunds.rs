//! Refunds: the request (with its command), and the record of the refund made by the provider.
//!
//! Guarantees: a refund counts once by its id; neither the requested nor the recorded sum ever exceeds the order's
//! total.

use sqlx::sqlite::SqliteRow;
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, RefundId},
    orders::{RefundFacts, RefundRequested, Transition},
    outbox::Command,
    rules::transitions,
};

use super::{fault::SqliteFault, order_row, stock, transaction::Unit};
use crate::row::get;

/// Adds to the refunded amount; the order becomes `refunded` when that reaches the total, unless it ended otherwise.
const GIVE: &str = "
    UPDATE orders SET refunded_minor = refunded_minor + ?2, updated_at = ?3,
        status = iif(status IN ('paid', 'fulfilled') AND refunded_minor + ?2 = total_minor, 'refunded', status),
        event_sequence = event_sequence
            + iif(status IN ('paid', 'fulfilled') AND refunded_minor + ?2 = total_minor, 2, 1)
    WHERE id = ?1 AND status IN ('paid', 'fulfilled', 'cancelled', 'payment_failed') AND captured_minor IS NOT NULL
        AND ?2 > 0 AND refunded_minor + ?2 <= total_minor
    RETURNING *";
const KEEP: &str = "
    INSERT INTO refunds (order_id, id, amount_minor, requested_at, recorded_at) VALUES (?1, ?2, ?3, ?4, ?4)
    ON CONFLICT (order_id, id) DO UPDATE SET amount_minor = ?3, recorded_at = ?4";
const ASK: &str = "INSERT INTO refunds (order_id, id, amount_minor, requested_at) VALUES (?1, ?2, ?3, ?4)";
const REFUND: &str = "SELECT recorded_at FROM refunds WHERE order_id = ?1 AND id = ?2";
const ASKED: &str = "SELECT coalesce(sum(amount_minor), 0) AS asked_minor FROM refunds WHERE order_id = ?1";

/// Requests a refund of a cancelled order: the part of `captured_minor` that is not requested yet.
pub(super) async fn give_back(
    unit: &mut Unit<'_>,
    order: &Order,
    captured_minor: i64,
) -> Result<(), SqliteFault> {
    let left_minor = transitions::left_minor(order, captured_minor, asked_minor(unit, order.id).await?);
    if left_minor <= 0 {
        return Ok(());
    }
    ask(unit, order, transitions::refund_of_cancelled(order), left_minor).await
}

/// See [`store::orders::Orders::request_refund`].
pub(super) async fn request(
    unit: &mut Unit<'_>,
    (merchant, id): (MerchantId, OrderId),
    (refund, amount_minor): (RefundId, Option<i64>),
) -> Result<RefundRequested, SqliteFault> {
    let Some(row) = unit.row(order_row::of_merchant(merchant, id)).await? else {
        return Ok(RefundRequested::NotFound);
    };
    let order = Box::new(order_row::order(&row)?);
    if refund_row(unit, id, refund).await?.is_some() {
        return Ok(RefundRequested::Already(order, refund));
    }
    if !transitions::may_be_refunded(&order) {
        return Ok(RefundRequested::Refused(order));
    }
    let amount_minor = match transitions::refundable(&order, asked_minor(unit, id).await?, amount_minor) {
        Ok(amount_minor) => amount_minor,
        Err(answer) => return Ok(answer),
    };
    ask(unit, &order, refund, amount_minor).await?;
    Ok(RefundRequested::Accepted(order, refund))
}

/// See [`store::orders::Orders::record_refund`].
pub(super) async fn record(
    unit: &mut Unit<'_>,
    id: OrderId,
    facts: RefundFacts,
) -> Result<Transition, SqliteFault> {
    let Some(before) = unit.row(order_row::by_id(id)).await? else { return Ok(Transition::NotFound) };
    if let Some(known) = refund_row(unit, id, facts.refund).await?
        && get::<Option<i64>>(&known, "recorded_at")?.is_some()
    {
        return Ok(Transition::Already(Box::new(order_row::order(&before)?)));
    }
    let give = sqlx::query(GIVE).bind(id.to_string()).bind(facts.amount_minor).bind(unit.at_ms());
    let Some(row) = unit.row(give).await? else {
        return Ok(Transition::Refused(Box::new(order_row::order(&before)?)));
    };
    let keep = sqlx::query(KEEP).bind(id.to_string()).bind(facts.refund.to_string());
    unit.run(keep.bind(facts.amount_minor).bind(unit.at_ms())).await?;
    let order = order_row::order(&row)?;
    unit.messages.refunded(&order, order_row::captured_minor(&row)?, &facts);
    if order.status == OrderStatus::Refunded && order.shipment.is_none() {
        stock::release(unit, &order).await?;
    }
    Ok(Transition::Now(Box::new(order)))
}

async fn ask(
    unit: &mut Unit<'_>,
    order: &Order,
    refund: RefundId,
    amount_minor: i64,
) -> Result<(), SqliteFault> {
    let query = sqlx::query(ASK).bind(order.id.to_string()).bind(refund.to_string());
    unit.run(query.bind(amount_minor).bind(unit.at_ms())).await?;
    Ok(unit.messages.command(order, &Command::Refund { order: order.id, refund, amount_minor })?)
}

async fn refund_row(
    unit: &mut Unit<'_>,
    order: OrderId,
    refund: RefundId,
) -> Result<Option<SqliteRow>, SqliteFault> {
    unit.row(sqlx::query(REFUND).bind(order.to_string()).bind(refund.to_string())).await
}

async fn asked_minor(unit: &mut Unit<'_>, order: OrderId) -> Result<i64, SqliteFault> {
    let row = unit.row(sqlx::query(ASKED).bind(order.to_string())).await?;
    Ok(row.map_or(Ok(0), |row| get(&row, "asked_minor"))?)
}
