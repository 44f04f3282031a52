//! Order state transitions: each is an UPDATE guarded by the expected state; only when no row matches is the order
//! read, to tell why.

use base::{Ambient, Timestamp, ids};
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, PaymentId, ShipmentId},
    orders::{CaptureFacts, EXPIRED, Transition},
    rules::{
        messages::Messages,
        transitions::{self, was_fulfilled, was_paid},
    },
};

use super::{emit, fault::SqliteFault, order_row, refunds, stock};

/// See [`store::orders::Orders::mark_paid`].
pub(super) async fn mark_paid(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    id: OrderId,
    facts: CaptureFacts,
    at: Timestamp,
) -> Result<Transition, SqliteFault> {
    let paid = sqlx::query(
        "UPDATE orders SET status = 'paid', payment_id = ?2, provider_reference = ?3, captured_minor = ?4,
             event_sequence = event_sequence + 2, updated_at = ?5
         WHERE id = ?1 AND status = 'pending' RETURNING *",
    );
    let Some(row) = with_capture(paid, id, &facts, at).fetch_optional(&mut *c).await? else {
        return not_paid(c, ambient, id, facts, at).await;
    };
    let order = order_row::order(&row)?;
    let mut messages = Messages::new(ambient, at);
    messages.paid(&order, &facts);
    emit::write(c, messages).await?;
    Ok(Transition::Now(Box::new(order)))
}

/// A capture for an order that is not pending. For a cancelled order the money is refunded, once: `captured_minor`
/// tells whether the capture was recorded before.
async fn not_paid(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    id: OrderId,
    facts: CaptureFacts,
    at: Timestamp,
) -> Result<Transition, SqliteFault> {
    let late = sqlx::query(
        "UPDATE orders SET payment_id = ?2, provider_reference = ?3, captured_minor = ?4,
             event_sequence = event_sequence + 1, updated_at = ?5
         WHERE id = ?1 AND status = 'cancelled' AND captured_minor IS NULL RETURNING *",
    );
    let Some(row) = with_capture(late, id, &facts, at).fetch_optional(&mut *c).await? else {
        return classify(order_row::find(c, id).await?, was_paid);
    };
    let order = order_row::order(&row)?;
    let mut messages = Messages::new(ambient, at);
    messages.captured_late(&order, &facts);
    refunds::give_back(c, &mut messages, &order, facts.amount_minor, at).await?;
    emit::write(c, messages).await?;
    Ok(Transition::Refused(Box::new(order)))
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn with_capture<'q>(query: Query<'q>, id: OrderId, facts: &CaptureFacts, at: Timestamp) -> Query<'q> {
    query
        .bind(id.to_string())
        .bind(facts.payment.to_string())
        .bind(facts.provider_reference.clone())
        .bind(facts.amount_minor)
        .bind(at.as_millisecond())
}

/// See [`store::orders::Orders::mark_payment_failed`].
pub(super) async fn mark_payment_failed(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    id: OrderId,
    (payment, code): (PaymentId, String),
    at: Timestamp,
) -> Result<Transition, SqliteFault> {
    let row = sqlx::query(
        "UPDATE orders SET status = 'payment_failed', status_reason = ?2,
             event_sequence = event_sequence + 1, updated_at = ?3
         WHERE id = ?1 AND status = 'pending' RETURNING *",
    )
    .bind(id.to_string())
    .bind(&code)
    .bind(at.as_millisecond())
    .fetch_optional(&mut *c)
    .await?;
    let Some(row) = row else {
        let been = |order: &Order| order.status == OrderStatus::PaymentFailed;
        return classify(order_row::find(c, id).await?, been);
    };
    let order = order_row::order(&row)?;
    stock::release(c, &order, at).await?;
    let mut messages = Messages::new(ambient, at);
    messages.payment_failed(&order, payment, &code);
    emit::write(c, messages).await?;
    Ok(Transition::Now(Box::new(order)))
}

/// See [`store::orders::Orders::fulfil`].
pub(super) async fn fulfil(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    id: OrderId,
    at: Timestamp,
) -> Result<Transition, SqliteFault> {
    let row = sqlx::query(
        "UPDATE orders SET status = 'fulfilled', shipment_id = ?2, shipped_at = ?3,
             event_sequence = event_sequence + 1, updated_at = ?3
         WHERE id = ?1 AND status = 'paid' RETURNING *",
    )
    .bind(id.to_string())
    .bind(ShipmentId::of_order(id).to_string())
    .bind(at.as_millisecond())
    .fetch_optional(&mut *c)
    .await?;
    let Some(row) = row else {
        return classify(order_row::find(c, id).await?, was_fulfilled);
    };
    let order = order_row::order(&row)?;
    let mut messages = Messages::new(ambient, at);
    messages.fulfilled(&order, &stock::ship(c, &order, at).await?);
    emit::write(c, messages).await?;
    Ok(Transition::Now(Box::new(order)))
}

/// See [`store::orders::Orders::cancel`].
pub(super) async fn cancel(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    (merchant, id): (MerchantId, OrderId),
    reason: &str,
    at: Timestamp,
) -> Result<Transition, SqliteFault> {
    let row = sqlx::query(
        "UPDATE orders SET status = 'cancelled', status_reason = ?3,
             event_sequence = event_sequence + 1, updated_at = ?4
         WHERE merchant_id = ?1 AND id = ?2 AND status IN ('pending', 'paid') RETURNING *",
    )
    .bind(merchant.to_string())
    .bind(id.to_string())
    .bind(reason.to_owned())
    .bind(at.as_millisecond())
    .fetch_optional(&mut *c)
    .await?;
    let Some(row) = row else {
        let found = order_row::find_of(c, merchant, id).await?;
        return classify(found, |order| order.status == OrderStatus::Cancelled);
    };
    Ok(Transition::Now(Box::new(called_off(c, ambient, &row, at).await?)))
}

/// Pending orders placed before ?2, oldest first. The redundant conditions on status and id select a range of the
/// partial index `orders_open`.
pub(super) const STALE: &str = "
    SELECT id FROM orders WHERE status = 'pending' AND status IN ('pending', 'paid') AND id < ?1 AND created_at < ?2
    ORDER BY id LIMIT ?3";
const EXPIRE: &str = "
    UPDATE orders SET status = 'cancelled', status_reason = ?2, event_sequence = event_sequence + 1, updated_at = ?3
    WHERE id = ?1 AND status = 'pending' RETURNING *";

/// See [`store::orders::Orders::expire_pending`].
pub(super) async fn expire(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    before: Timestamp,
    limit: u32,
    at: Timestamp,
) -> Result<u64, SqliteFault> {
    let stale = sqlx::query_scalar(STALE)
        .bind(OrderId(ids::floor(before)).to_string())
        .bind(before.as_millisecond())
        .bind(limit);
    let stale: Vec<String> = stale.fetch_all(&mut *c).await?;
    let mut expired = 0;
    for id in stale {
        let query = sqlx::query(EXPIRE).bind(id).bind(EXPIRED).bind(at.as_millisecond());
        if let Some(row) = query.fetch_optional(&mut *c).await? {
            called_off(c, ambient, &row, at).await?;
            expired += 1;
        }
    }
    Ok(expired)
}

/// The effects of a cancellation: releases the stock, refunds a captured amount and writes the events.
async fn called_off(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    row: &SqliteRow,
    at: Timestamp,
) -> Result<Order, SqliteFault> {
    let order = order_row::order(row)?;
    stock::release(c, &order, at).await?;
    let mut messages = Messages::new(ambient, at);
    messages.cancelled(&order);
    if let Some(captured_minor) = order_row::captured_minor(row)? {
        refunds::give_back(c, &mut messages, &order, captured_minor, at).await?;
    }
    emit::write(c, messages).await?;
    Ok(order)
}

/// The result when the guarded UPDATE matched no row.
fn classify(row: Option<SqliteRow>, been: impl Fn(&Order) -> bool) -> Result<Transition, SqliteFault> {
    Ok(transitions::classify(row.as_ref().map(order_row::order).transpose()?, been))
}
