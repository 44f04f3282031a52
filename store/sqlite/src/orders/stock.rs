//! Stock: reserved with an order, released or shipped later. One statement each, whatever the number of lines.

use std::collections::BTreeMap;

use base::sqlite::Query;
use serde::Serialize;
use store::{
    domain::{Currency, MerchantId, Order},
    orders::NewOrder,
    reservations::NewReservation,
    rules::{
        columns::Columns,
        rows,
        stock::{Stock, Wanted, expect_all, of_order},
    },
};

use super::{
    fault::{Result, to_json},
    transaction::Unit,
};

#[derive(Serialize)]
struct WantedRow<'a> {
    sku: &'a str,
    quantity: i64,
}

/// Reserves the available ones of the wanted products and returns only those; none when the idempotency key is taken. A
/// caller that gets fewer than it wanted must roll back.
pub(super) async fn reserve(
    unit: &mut Unit<'_>,
    order: &NewOrder,
    wanted: &Wanted<'_>,
) -> Result<Vec<Stock>> {
    let query = over(RESERVE, order.merchant, wanted)?
        .bind(order.currency.as_str())
        .bind(&order.idempotency.key)
        .bind(unit.at_ms());
    unit.rows(query).await?.iter().map(rows::stock).collect()
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

/// Reserves the available ones of the products that a cart wants and returns only those. A caller that gets fewer than
/// it wanted must roll back.
pub(super) async fn reserve_for_cart(
    unit: &mut Unit<'_>,
    cart: &NewReservation,
    wanted: &Wanted<'_>,
) -> Result<Vec<Stock>> {
    let query = over(HOLD, cart.merchant, wanted)?.bind(cart.currency.as_str()).bind(unit.at_ms());
    unit.rows(query).await?.iter().map(rows::stock).collect()
}

// Without an event, so the sequence stays: the threshold is told by the order that takes the units over.
pub(super) const HOLD: &str = "
    WITH wanted (merchant_id, sku, quantity) AS MATERIALIZED (
        SELECT ?1, value ->> 'sku', value ->> 'quantity' FROM json_each(?2))
    UPDATE products SET reserved = reserved + wanted.quantity, updated_at = ?4
    FROM wanted
    WHERE products.merchant_id = wanted.merchant_id AND products.sku = wanted.sku AND products.currency = ?3
        AND products.on_hand - products.reserved >= wanted.quantity
    RETURNING sku, name, price_minor, on_hand, reserved, low_stock_at, event_sequence";

pub(super) async fn release(unit: &mut Unit<'_>, order: &Order) -> Result<()> {
    let wanted = of_order(order);
    let released = release_units(unit, order.merchant, &wanted).await?;
    Ok(expect_all(order, &wanted, usize::try_from(released).unwrap_or(usize::MAX))?)
}

/// Releases these units; returns the number of products found.
pub(super) async fn release_units(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    units: &Wanted<'_>,
) -> Result<u64> {
    unit.run(over(RELEASE, merchant, units)?.bind(unit.at_ms())).await
}

pub(super) const RELEASE: &str = "
    WITH wanted (merchant_id, sku, quantity) AS MATERIALIZED (
        SELECT ?1, value ->> 'sku', value ->> 'quantity' FROM json_each(?2))
    UPDATE products SET reserved = reserved - wanted.quantity, updated_at = ?3
    FROM wanted
    WHERE products.merchant_id = wanted.merchant_id AND products.sku = wanted.sku";

/// Removes the units reserved by an order from stock; each product's event sequence advances by one.
pub(super) async fn ship(unit: &mut Unit<'_>, order: &Order) -> Result<Vec<Stock>> {
    let wanted = of_order(order);
    let rows = unit.rows(over(SHIP, order.merchant, &wanted)?.bind(unit.at_ms())).await?;
    expect_all(order, &wanted, rows.len())?;
    rows.iter().map(rows::stock).collect()
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

const LOOK: &str = "
    SELECT sku, currency, on_hand - reserved AS available FROM products
    WHERE merchant_id = ?1 AND sku IN (SELECT value ->> 'sku' FROM json_each(?2))";

/// Currency and available units of the wanted products, to explain a rejected reservation.
pub(super) async fn look(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    wanted: &Wanted<'_>,
) -> Result<BTreeMap<String, (Currency, i64)>> {
    let rows = unit.rows(over(LOOK, merchant, wanted)?).await?;
    rows.iter()
        .map(|row| Ok((row.text("sku")?, (row.parsed("currency")?, row.number("available")?))))
        .collect()
}

/// A statement over the merchant and the wanted units, its first two arguments.
fn over(sql: &'static str, merchant: MerchantId, wanted: &Wanted<'_>) -> Result<Query<'static>> {
    let rows: Vec<_> = wanted.iter().map(|(sku, quantity)| WantedRow { sku, quantity: *quantity }).collect();
    Ok(sqlx::query(sql).bind(merchant.to_string()).bind(to_json(&rows)?))
}
