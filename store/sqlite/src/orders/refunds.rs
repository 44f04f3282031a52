//! Refunds: the request (with its command), and the record of the refund made by the provider.
//!
//! Guarantees: a refund counts once by its id; neither the requested nor the recorded sum ever exceeds the order's
//! total.

use base::{Ambient, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, RefundId},
    orders::{RefundFacts, RefundRequested, Transition},
    outbox::Command,
    rules::{messages::Messages, transitions},
};

use super::{
    emit,
    fault::{SqliteFault, get},
    order_row, stock,
};

/// Requests a refund of a cancelled order: the part of `captured_minor` that is not requested yet.
pub(super) async fn give_back(
    c: &mut SqliteConnection,
    messages: &mut Messages<'_>,
    order: &Order,
    captured_minor: i64,
    at: Timestamp,
) -> Result<(), SqliteFault> {
    let left_minor = transitions::left_minor(order, captured_minor, asked_minor(c, order.id).await?);
    if left_minor <= 0 {
        return Ok(());
    }
    ask(c, messages, order, transitions::refund_of_cancelled(order), left_minor, at).await
}

/// See [`store::orders::Orders::request_refund`].
pub(super) async fn request(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    (merchant, id): (MerchantId, OrderId),
    (refund, amount_minor): (RefundId, Option<i64>),
    at: Timestamp,
) -> Result<RefundRequested, SqliteFault> {
    let Some(row) = order_row::find_of(c, merchant, id).await? else { return Ok(RefundRequested::NotFound) };
    let order = Box::new(order_row::order(&row)?);
    if refund_row(c, id, refund).await?.is_some() {
        return Ok(RefundRequested::Already(order, refund));
    }
    if !transitions::may_be_refunded(&order) {
        return Ok(RefundRequested::Refused(order));
    }
    let amount_minor = match transitions::refundable(&order, asked_minor(c, id).await?, amount_minor) {
        Ok(amount_minor) => amount_minor,
        Err(answer) => return Ok(answer),
    };
    let mut messages = Messages::new(ambient, at);
    ask(c, &mut messages, &order, refund, amount_minor, at).await?;
    emit::write(c, messages).await?;
    Ok(RefundRequested::Accepted(order, refund))
}

/// See [`store::orders::Orders::record_refund`].
pub(super) async fn record(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    id: OrderId,
    facts: RefundFacts,
    at: Timestamp,
) -> Result<Transition, SqliteFault> {
    let Some(before) = order_row::find(c, id).await? else { return Ok(Transition::NotFound) };
    if let Some(known) = refund_row(c, id, facts.refund).await?
        && get::<Option<i64>>(&known, "recorded_at")?.is_some()
    {
        return Ok(Transition::Already(Box::new(order_row::order(&before)?)));
    }
    let Some(row) = give(c, id, facts.amount_minor, at).await? else {
        return Ok(Transition::Refused(Box::new(order_row::order(&before)?)));
    };
    keep(c, id, &facts, at).await?;
    let order = order_row::order(&row)?;
    let mut messages = Messages::new(ambient, at);
    messages.refunded(&order, order_row::captured_minor(&row)?, &facts);
    if order.status == OrderStatus::Refunded && order.shipment.is_none() {
        stock::release(c, &order, at).await?;
    }
    emit::write(c, messages).await?;
    Ok(Transition::Now(Box::new(order)))
}

/// Adds to the refunded amount; the order becomes `refunded` when that reaches the total, unless it was cancelled.
async fn give(
    c: &mut SqliteConnection,
    id: OrderId,
    amount_minor: i64,
    at: Timestamp,
) -> Result<Option<SqliteRow>, SqliteFault> {
    let row = sqlx::query(
        "UPDATE orders SET refunded_minor = refunded_minor + ?2, updated_at = ?3,
             status = iif(status <> 'cancelled' AND refunded_minor + ?2 = total_minor, 'refunded', status),
             event_sequence = event_sequence
                 + iif(status <> 'cancelled' AND refunded_minor + ?2 = total_minor, 2, 1)
         WHERE id = ?1 AND status IN ('paid', 'fulfilled', 'cancelled') AND captured_minor IS NOT NULL
             AND ?2 > 0 AND refunded_minor + ?2 <= total_minor
         RETURNING *",
    )
    .bind(id.to_string())
    .bind(amount_minor)
    .bind(at.as_millisecond())
    .fetch_optional(c)
    .await?;
    Ok(row)
}

async fn keep(
    c: &mut SqliteConnection,
    id: OrderId,
    facts: &RefundFacts,
    at: Timestamp,
) -> Result<(), SqliteFault> {
    sqlx::query(
        "INSERT INTO refunds (order_id, id, amount_minor, requested_at, recorded_at) VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT (order_id, id) DO UPDATE SET amount_minor = ?3, recorded_at = ?4",
    )
    .bind(id.to_string())
    .bind(facts.refund.to_string())
    .bind(facts.amount_minor)
    .bind(at.as_millisecond())
    .execute(c)
    .await?;
    Ok(())
}

async fn ask(
    c: &mut SqliteConnection,
    messages: &mut Messages<'_>,
    order: &Order,
    refund: RefundId,
    amount_minor: i64,
    at: Timestamp,
) -> Result<(), SqliteFault> {
    sqlx::query("INSERT INTO refunds (order_id, id, amount_minor, requested_at) VALUES (?1, ?2, ?3, ?4)")
        .bind(order.id.to_string())
        .bind(refund.to_string())
        .bind(amount_minor)
        .bind(at.as_millisecond())
        .execute(c)
        .await?;
    Ok(messages.command(order, &Command::Refund { order: order.id, refund, amount_minor })?)
}

async fn refund_row(
    c: &mut SqliteConnection,
    order: OrderId,
    refund: RefundId,
) -> Result<Option<SqliteRow>, SqliteFault> {
    let query = sqlx::query("SELECT recorded_at FROM refunds WHERE order_id = ?1 AND id = ?2");
    Ok(query.bind(order.to_string()).bind(refund.to_string()).fetch_optional(c).await?)
}

async fn asked_minor(c: &mut SqliteConnection, order: OrderId) -> Result<i64, SqliteFault> {
    let query = sqlx::query_scalar("SELECT coalesce(sum(amount_minor), 0) FROM refunds WHERE order_id = ?1");
    Ok(query.bind(order.to_string()).fetch_one(c).await?)
}
