//! Order placement: the transaction that every checkout waits for.
//!
//! Guarantees: four statements for an accepted order, whatever the number of lines: reserve (guarded by stock, currency
//! and the idempotency key at once), order, idempotency record, outbox. Two more come first where the order takes over
//! the [reservation](super::reservations) of its cart. Only after a rejection is its cause read; the unit then ends
//! with an error, which rolls the reservations back.

use std::slice;

use base::sqlite::Query;
use sqlx::sqlite::SqliteRow;
use store::{
    domain::{MerchantId, Order, OrderId},
    order_view::OrderView,
    orders::{IdempotencyKey, NewOrder, PlaceOutcome},
    rules::{
        columns::Columns,
        place_order,
        stock::{Stock, Wanted, wanted},
    },
};

use super::{
    fault::{Result, SqliteFault, to_json},
    reservations, stock,
    transaction::Unit,
};
use crate::row::get;

pub(super) const RECORDED: &str =
    "SELECT fingerprint, order_id, body FROM idempotency_keys WHERE merchant_id = ?1 AND key = ?2";
const INSERT_ORDER: &str = "
    INSERT INTO orders (merchant_id, id, status, currency, total_minor, lines, customer_email, customer_name,
        payment_method, shipping_address, reference, event_sequence, trace, created_at, updated_at, customer_id,
        token_hash, token_expires_at, adjustments)
    VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11, ?12, ?12, ?13, ?14, ?15, ?16)";
const INSERT_KEY: &str = "
    INSERT INTO idempotency_keys (merchant_id, key, fingerprint, order_id, body, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// The reason why the unit ended without an order.
pub(super) enum NotPlaced {
    /// A rejection or a replay; this is the answer.
    Answer(PlaceOutcome),
    Fault(SqliteFault),
}

impl<E: Into<SqliteFault>> From<E> for NotPlaced {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// Places the order; returns it with its rendered body.
pub(super) async fn place(unit: &mut Unit<'_>, new: NewOrder) -> Result<(Order, String), NotPlaced> {
    let wanted = wanted(new.lines.iter().map(|line| (line.sku.as_str(), line.quantity)));
    reservations::take_over(unit, &new, &wanted).await?;
    let reserved = stock::reserve(unit, &new, &wanted).await?;
    if reserved.len() < wanted.len() || wanted.is_empty() {
        return Err(why_not(unit, &new, &wanted, &reserved).await?);
    }
    let order = place_order::assemble(&new, &reserved).map_err(NotPlaced::Answer)?;
    let body = OrderView::of_accepted(&order, new.estimated_fulfilment_at);
    insert_order(unit, &order).await?;
    let key = sqlx::query(INSERT_KEY)
        .bind(new.merchant.to_string())
        .bind(&new.idempotency.key)
        .bind(&new.idempotency.fingerprint[..])
        .bind(new.id.to_string())
        .bind(&body)
        .bind(new.at.as_millisecond());
    unit.run(key).await?;
    unit.messages.placed(slice::from_ref(&order), &reserved, &wanted);
    Ok((order, body))
}

async fn why_not(
    unit: &mut Unit<'_>,
    new: &NewOrder,
    wanted: &Wanted<'_>,
    reserved: &[Stock],
) -> Result<NotPlaced> {
    if let Some(row) = unit.row(record_of(new.merchant, &new.idempotency)).await? {
        return Ok(NotPlaced::Answer(recorded(&row, &new.idempotency)?));
    }
    let known = stock::look(unit, new.merchant, wanted).await?;
    Ok(NotPlaced::Answer(place_order::refuse(new, reserved, &known)?))
}

/// The stored record of an idempotency key.
pub(super) fn record_of(merchant: MerchantId, key: &IdempotencyKey) -> Query<'static> {
    sqlx::query(RECORDED).bind(merchant.to_string()).bind(key.key.clone())
}

/// The answer by that record.
pub(super) fn recorded(row: &SqliteRow, key: &IdempotencyKey) -> Result<PlaceOutcome> {
    let (order, body) = (row.id("order_id", OrderId)?, row.text("body")?);
    Ok(place_order::replay(key, get(row, "fingerprint")?, order, body))
}

async fn insert_order(unit: &mut Unit<'_>, order: &Order) -> Result<()> {
    let has_adjustments = !order.adjustments.is_empty();
    let adjustments = has_adjustments.then(|| to_json(&order.adjustments)).transpose()?;
    let query = sqlx::query(INSERT_ORDER)
        .bind(order.merchant.to_string())
        .bind(order.id.to_string())
        .bind(order.currency.as_str())
        .bind(order.total_minor)
        .bind(to_json(&order.lines)?)
        .bind(&order.customer.email)
        .bind(&order.customer.name)
        .bind(&order.payment_method)
        .bind(order.shipping_address.as_ref().map(to_json).transpose()?)
        .bind(&order.reference)
        .bind(order.trace.as_ref().map(ToString::to_string))
        .bind(order.created_at.as_millisecond())
        .bind(order.account.map(|account| account.to_string()))
        .bind(order.token.as_ref().map(|token| &token.hash[..]))
        .bind(order.token.map(|token| token.expires_at.as_millisecond()))
        .bind(adjustments);
    unit.run(query).await?;
    Ok(())
}
