//! Stock: reserved with an order, released or shipped later. One statement each, whatever the number of lines.
//!
//! Guarantees: a statement first locks all its products, by sku, and only then decides. So concurrent statements cannot
//! deadlock, and the rows a statement decided on do not change before the commit. A statement that waited for a lock
//! may decide on the stock from before the wait; one after it, in the same unit, decides on the newest.

use std::collections::BTreeMap;

use base::{Timestamp, postgres::Query};
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

use super::{fault::Result, timestamps::Moment, transaction::Unit};

/// Locks the wanted products (`$1` merchant, `$2` skus, `$3` quantities) in the order of their skus. `NO KEY`, so that
/// foreign keys to products do not wait for it. The planner does not know the array's length and might hash the
/// merchant's whole catalog; a lateral lookup leaves it no choice.
macro_rules! locked {
    ($guard:literal) => {
        concat!(
            "locked AS MATERIALIZED (
                SELECT p.merchant_id, p.sku, wanted.quantity
                FROM (SELECT * FROM unnest($2::text[], $3::bigint[]) AS given (sku, quantity) ORDER BY sku COLLATE \"C\")
                    AS wanted
                CROSS JOIN LATERAL (
                    SELECT merchant_id, sku FROM products
                    WHERE merchant_id = $1 AND sku = wanted.sku COLLATE \"C\" FOR NO KEY UPDATE) AS p",
            $guard,
            ")"
        )
    };
}

// The event sequence advances exactly when the low-stock threshold is crossed, which writes `inventory.low`. Products
// that fall short are locked as well, so that the cause of a rejection can be read afterwards.
pub(super) const RESERVE: &str = concat!(
    "WITH ",
    // One lookup per key: `key = ANY($5)` became a scan through all keys of the merchant, in a plan made while they
    // were few and cached while they grew by thousands. OFFSET 0 keeps the lookup separate.
    locked!(
        " WHERE NOT EXISTS (
            SELECT 1 FROM unnest($5::text[]) AS asked (key)
            CROSS JOIN LATERAL (
                SELECT 1 FROM idempotency_keys
                WHERE merchant_id = $1 AND key = asked.key COLLATE \"C\" OFFSET 0) AS taken)"
    ),
    "UPDATE products AS p
    SET reserved = p.reserved + l.quantity,
        event_sequence = p.event_sequence + (p.on_hand - p.reserved > p.low_stock_at
            AND p.on_hand - p.reserved - l.quantity <= p.low_stock_at)::int,
        updated_at = $6
    FROM locked AS l
    WHERE p.merchant_id = l.merchant_id AND p.sku = l.sku AND p.currency = $4
        AND p.on_hand - p.reserved >= l.quantity
    RETURNING p.sku, p.name, p.price_minor, p.on_hand, p.reserved, p.low_stock_at, p.event_sequence"
);
// Without an event, so the sequence stays: the threshold is told by the order that takes the units over.
pub(super) const HOLD: &str = concat!(
    "WITH ",
    locked!(""),
    "UPDATE products AS p SET reserved = p.reserved + l.quantity, updated_at = $5
    FROM locked AS l
    WHERE p.merchant_id = l.merchant_id AND p.sku = l.sku AND p.currency = $4
        AND p.on_hand - p.reserved >= l.quantity
    RETURNING p.sku, p.name, p.price_minor, p.on_hand, p.reserved, p.low_stock_at, p.event_sequence"
);
pub(super) const RELEASE: &str = concat!(
    "WITH ",
    locked!(""),
    "UPDATE products AS p SET reserved = p.reserved - l.quantity, updated_at = $4
    FROM locked AS l WHERE p.merchant_id = l.merchant_id AND p.sku = l.sku"
);
pub(super) const SHIP: &str = concat!(
    "WITH ",
    locked!(""),
    "UPDATE products AS p
    SET reserved = p.reserved - l.quantity, on_hand = p.on_hand - l.quantity,
        event_sequence = p.event_sequence + 1, updated_at = $4
    FROM locked AS l WHERE p.merchant_id = l.merchant_id AND p.sku = l.sku
    RETURNING p.sku, p.name, p.price_minor, p.on_hand, p.reserved, p.low_stock_at, p.event_sequence"
);
pub(super) const LOOK: &str = "
    SELECT p.sku, p.currency, p.available FROM unnest($2::text[]) AS wanted (sku)
    CROSS JOIN LATERAL (
        SELECT sku, currency, on_hand - reserved AS available FROM products
        WHERE merchant_id = $1 AND sku = wanted.sku COLLATE \"C\" OFFSET 0) AS p";

/// Reserves the available products for orders of one merchant in one currency, and returns only those; none when an
/// idempotency key is taken. A caller that gets fewer than it wanted must abandon the unit.
pub(super) async fn reserve(unit: &mut Unit, orders: &[NewOrder], wanted: &Wanted<'_>) -> Result<Vec<Stock>> {
    let Some(first) = orders.first() else { return Ok(Vec::new()) };
    let query = with_wanted(RESERVE, first.merchant, wanted)
        .bind(first.currency.as_str())
        .bind(orders.iter().map(|order| order.idempotency.key.as_str()).collect::<Vec<&str>>())
        .bind(Moment(first.at));
    unit.rows(query).await?.iter().map(rows::stock).collect()
}

/// Reserves the available products for a cart and returns only those. A caller that gets fewer than it wanted must
/// abandon the unit.
pub(super) async fn reserve_for_cart(
    unit: &mut Unit,
    cart: &NewReservation,
    wanted: &Wanted<'_>,
) -> Result<Vec<Stock>> {
    let query = with_wanted(HOLD, cart.merchant, wanted).bind(cart.currency.as_str()).bind(Moment(cart.at));
    unit.rows(query).await?.iter().map(rows::stock).collect()
}

pub(super) async fn release(unit: &mut Unit, order: &Order, at: Timestamp) -> Result<()> {
    let wanted = of_order(order);
    let released = release_units(unit, order.merchant, &wanted, at).await?;
    Ok(expect_all(order, &wanted, usize::try_from(released).unwrap_or(usize::MAX))?)
}

/// Releases these units and locks their products; returns the number of products found.
pub(super) async fn release_units(
    unit: &mut Unit,
    merchant: MerchantId,
    units: &Wanted<'_>,
    at: Timestamp,
) -> Result<u64> {
    unit.run(with_wanted(RELEASE, merchant, units).bind(Moment(at))).await
}

/// Removes the units reserved by an order from stock; each product's event sequence advances by one.
pub(super) async fn ship(unit: &mut Unit, order: &Order, at: Timestamp) -> Result<Vec<Stock>> {
    let wanted = of_order(order);
    let query = with_wanted(SHIP, order.merchant, &wanted).bind(Moment(at));
    let rows = unit.rows(query).await?;
    expect_all(order, &wanted, rows.len())?;
    rows.iter().map(rows::stock).collect()
}

/// Currency and available units of the wanted products, to explain a rejected reservation.
pub(super) async fn look(
    unit: &mut Unit,
    merchant: MerchantId,
    wanted: &Wanted<'_>,
) -> Result<BTreeMap<String, (Currency, i64)>> {
    let query = sqlx::query(LOOK).bind(merchant.0).bind(skus(wanted));
    let rows = unit.rows(query).await?;
    rows.iter()
        .map(|row| Ok((row.text("sku")?, (row.parsed("currency")?, row.number("available")?))))
        .collect()
}

fn with_wanted(sql: &'static str, merchant: MerchantId, wanted: &Wanted<'_>) -> Query<'static> {
    sqlx::query(sql).bind(merchant.0).bind(skus(wanted)).bind(wanted.values().copied().collect::<Vec<i64>>())
}

fn skus(wanted: &Wanted<'_>) -> Vec<String> {
    wanted.keys().map(|sku| (*sku).to_owned()).collect()
}
