//! Stock: reserved with an order, released or shipped later. One statement each, whatever the number of lines.

use std::collections::BTreeMap;

use base::Timestamp;
use serde::Serialize;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use store::{
    domain::{Currency, MerchantId, Order},
    orders::NewOrder,
    rules::stock::{Stock, Wanted, expect_all, of_order},
};

use super::fault::{SqliteFault, get, number, to_json};

#[derive(Serialize)]
struct WantedRow<'a> {
    sku: &'a str,
    quantity: i64,
}

/// Reserves the available ones of the wanted products and returns only those; none when the idempotency key is taken. A
/// caller that gets fewer than it wanted must roll back.
pub(super) async fn reserve(
    c: &mut SqliteConnection,
    order: &NewOrder,
    wanted: &Wanted<'_>,
) -> Result<Vec<Stock>, SqliteFault> {
    let rows = sqlx::query(RESERVE)
        .bind(order.merchant.to_string())
        .bind(rows_json(wanted)?)
        .bind(order.currency.as_str())
        .bind(&order.idempotency.key)
        .bind(order.at.as_millisecond())
        .fetch_all(c)
        .await?;
    rows.iter().map(stock).collect()
}

// The event sequence advances exactly when the low-stock threshold is crossed, which writes `inventory.low`.
// `wanted` is materialised and has the merchant, here and below, so that the plan scans the lines and finds each
// product by its whole key; otherwise it scans all products of the merchant.
pub(super) const RESERVE: &str = "
    WITH wanted (merchant_id, sku, quantity) AS MATERIALIZED (
        SELECT ?1, value ->> 'sku', value ->> 'quantity' FROM json_each(?2))
    UPDATE products
    SET reserved = reserved + wanted.quantity,
        event_sequence = event_sequence
            + (on_hand - reserved > low_stock_at AND on_hand - reserved - wanted.quantity <= low_stock_at),
        updated_at = ?5
    FROM wanted
    WHERE products.merchant_id = wanted.merchant_id AND products.sku = wanted.sku AND products.currency = ?3
        AND products.on_hand - products.reserved >= wanted.quantity
        AND NOT EXISTS (SELECT 1 FROM idempotency_keys WHERE merchant_id = ?1 AND key = ?4)
    RETURNING sku, name, price_minor, on_hand, reserved, low_stock_at, event_sequence";

/// Releases the units reserved by an order.
pub(super) async fn release(
    c: &mut SqliteConnection,
    order: &Order,
    at: Timestamp,
) -> Result<(), SqliteFault> {
    let wanted = of_order(order);
    let released = sqlx::query(RELEASE)
        .bind(order.merchant.to_string())
        .bind(rows_json(&wanted)?)
        .bind(at.as_millisecond())
        .execute(c)
        .await?;
    expect_all(order, &wanted, usize::try_from(released.rows_affected()).unwrap_or(usize::MAX))?;
    Ok(())
}

pub(super) const RELEASE: &str = "
    WITH wanted (merchant_id, sku, quantity) AS MATERIALIZED (
        SELECT ?1, value ->> 'sku', value ->> 'quantity' FROM json_each(?2))
    UPDATE products SET reserved = reserved - wanted.quantity, updated_at = ?3
    FROM wanted
    WHERE products.merchant_id = wanted.merchant_id AND products.sku = wanted.sku";

/// Removes the units reserved by an order from stock; each product's event sequence advances by one.
pub(super) async fn ship(
    c: &mut SqliteConnection,
    order: &Order,
    at: Timestamp,
) -> Result<Vec<Stock>, SqliteFault> {
    let wanted = of_order(order);
    let rows = sqlx::query(SHIP)
        .bind(order.merchant.to_string())
        .bind(rows_json(&wanted)?)
        .bind(at.as_millisecond())
        .fetch_all(c)
        .await?;
    expect_all(order, &wanted, rows.len())?;
    rows.iter().map(stock).collect()
}

pub(super) const SHIP: &str = "
    WITH wanted (merchant_id, sku, quantity) AS MATERIALIZED (
        SELECT ?1, value ->> 'sku', value ->> 'quantity' FROM json_each(?2))
    UPDATE products
    SET reserved = reserved - wanted.quantity, on_hand = on_hand - wanted.quantity,
        event_sequence = event_sequence + 1, updated_at = ?3
    FROM wanted
    WHERE products.merchant_id = wanted.merchant_id AND products.sku = wanted.sku
    RETURNING sku, name, price_minor, on_hand, reserved, low_stock_at, event_sequence";

/// Currency and available units of the wanted products, to explain a rejected reservation.
pub(super) async fn look(
    c: &mut SqliteConnection,
    merchant: MerchantId,
    wanted: &Wanted<'_>,
) -> Result<BTreeMap<String, (Currency, i64)>, SqliteFault> {
    let rows = sqlx::query(
        "SELECT sku, currency, on_hand - reserved AS available FROM products
         WHERE merchant_id = ?1 AND sku IN (SELECT value ->> 'sku' FROM json_each(?2))",
    )
    .bind(merchant.to_string())
    .bind(rows_json(wanted)?)
    .fetch_all(c)
    .await?;
    rows.iter()
        .map(|row| Ok((get(row, "sku")?, (super::fault::parsed(row, "currency")?, get(row, "available")?))))
        .collect()
}

fn rows_json(wanted: &Wanted<'_>) -> Result<String, SqliteFault> {
    let rows: Vec<_> = wanted.iter().map(|(sku, quantity)| WantedRow { sku, quantity: *quantity }).collect();
    to_json(&rows)
}

/// Reads a row of `products`.
pub(super) fn stock(row: &SqliteRow) -> Result<Stock, SqliteFault> {
    Ok(Stock {
        sku: get(row, "sku")?,
        name: get(row, "name")?,
        price_minor: get(row, "price_minor")?,
        on_hand: get(row, "on_hand")?,
        reserved: get(row, "reserved")?,
        low_stock_at: get(row, "low_stock_at")?,
        event_sequence: number(row, "event_sequence")?,
    })
}
