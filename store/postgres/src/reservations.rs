//! Stock reserved for carts: the statements of each unit of work. The functions are the methods of
//! [`store::reservations::Reservations`].
//!
//! Guarantees: a unit locks the row of the cart first and the products after it, by sku, as every unit does that holds
//! both; so neither two units over one cart nor one beside the placing of an order can deadlock.

use base::{Timestamp, ids::Uuid, postgres::Query};
use sqlx::postgres::PgRow;
use store::{
    domain::{CartId, MerchantId},
    orders::{NewLine, NewOrder},
    reservations::{EndedReservation, NewReservation, ReserveOutcome},
    rules::{
        columns::Columns,
        place_order::refusals,
        reservations::{end_of, exchanged, of_lines},
        stock::Wanted,
    },
};

use super::{
    fault::{PostgresFault, Result},
    row::to_json,
    stock,
    timestamps::Moment,
    transaction::Unit,
};

/// Makes the row of the cart where there is none, and locks it: it then holds what the cart has reserved so far.
pub(super) const LOCK: &str = "
    INSERT INTO cart_reservations (merchant_id, cart_id, lines, expires_at) VALUES ($1, $2, '[]', $3)
    ON CONFLICT (merchant_id, cart_id) DO UPDATE SET expires_at = cart_reservations.expires_at
    RETURNING lines::text AS lines, expires_at";
pub(super) const WRITE: &str = "
    UPDATE cart_reservations SET lines = $3::json, expires_at = $4 WHERE merchant_id = $1 AND cart_id = $2";
pub(super) const TAKE: &str = "
    DELETE FROM cart_reservations
    WHERE merchant_id = $1 AND cart_id = $2 AND ($3::timestamptz IS NULL OR expires_at <= $3)
    RETURNING lines::text AS lines";
/// Of several carts of one merchant; locked in the order of the array. Deleted by key, not by ctid: a row that was
/// changed while its lock was waited for has another one.
pub(super) const TAKE_ALL: &str = "
    WITH locked AS MATERIALIZED (
        SELECT r.merchant_id, r.cart_id FROM unnest($2::uuid[]) AS taken (cart_id)
        CROSS JOIN LATERAL (
            SELECT merchant_id, cart_id FROM cart_reservations
            WHERE merchant_id = $1 AND cart_id = taken.cart_id FOR UPDATE) AS r)
    DELETE FROM cart_reservations AS c USING locked AS l
    WHERE c.merchant_id = l.merchant_id AND c.cart_id = l.cart_id RETURNING c.lines::text AS lines";
/// Copies that a migration made or left are not listed.
pub(super) const ENDED: &str = "
    SELECT merchant_id, cart_id, expires_at FROM cart_reservations
    WHERE expires_at <= $1 AND (expires_at, cart_id) > ($2, $3)
        AND EXISTS (SELECT 1 FROM merchants AS m WHERE m.id = merchant_id AND m.state IN ('active', 'moving'))
    ORDER BY expires_at, cart_id LIMIT $4";

/// Reserves all lines; a rejection abandons the unit.
pub(super) async fn reserve(unit: &mut Unit, new: &NewReservation) -> Result<ReserveOutcome> {
    let row = unit.row(of_cart(LOCK, new.merchant, new.cart).bind(Moment(new.expires_at))).await?;
    let row =
        row.ok_or_else(|| PostgresFault::Corrupt("a written reservation returned no row".to_owned()))?;
    let (former, end): (Vec<NewLine>, _) = (row.json("lines")?, row.time("expires_at")?);
    let wanted = of_lines(&new.lines);
    stock::release_units(unit, new.merchant, &exchanged(&of_lines(&former), &wanted), new.at).await?;
    let reserved = stock::reserve_for_cart(unit, new, &wanted).await?;
    if reserved.len() < wanted.len() {
        let known = stock::look(unit, new.merchant, &wanted).await?;
        unit.abandon();
        return Ok(ReserveOutcome::Refused(refusals(&new.lines, new.currency, &reserved, &known)));
    }
    let until = end_of(new, Some(end));
    let query = of_cart(WRITE, new.merchant, new.cart).bind(to_json(&new.lines)?).bind(Moment(until));
    unit.run(query).await?;
    Ok(ReserveOutcome::Reserved { until })
}

/// Releases what the cart has reserved, with `ended_by` only if it has ended by then; false when there is nothing.
pub(super) async fn release(
    unit: &mut Unit,
    merchant: MerchantId,
    cart: CartId,
    ended_by: Option<Timestamp>,
    at: Timestamp,
) -> Result<bool> {
    let query = of_cart(TAKE, merchant, cart).bind(ended_by.map(Moment));
    let Some(row) = unit.row(query).await? else { return Ok(false) };
    let lines: Vec<NewLine> = row.json("lines")?;
    stock::release_units(unit, merchant, &of_lines(&lines), at).await?;
    Ok(true)
}

/// Gives the units that the carts of these orders of one merchant have reserved back, for the orders to reserve them in
/// the same unit.
pub(super) async fn take_over(unit: &mut Unit, orders: &[NewOrder], wanted: &Wanted<'_>) -> Result<()> {
    let mut carts: Vec<Uuid> = orders.iter().filter_map(|order| Some(order.reservation?.0)).collect();
    let Some(first) = orders.first().filter(|_| !carts.is_empty()) else { return Ok(()) };
    carts.sort_unstable();
    let rows = unit.rows(sqlx::query(TAKE_ALL).bind(first.merchant.0).bind(carts)).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<NewLine> = Vec::new();
    for row in &rows {
        let taken: Vec<NewLine> = row.json("lines")?;
        lines.extend(taken);
    }
    stock::release_units(unit, first.merchant, &exchanged(&of_lines(&lines), wanted), first.at).await?;
    Ok(())
}

pub(super) fn ended(now: Timestamp, after: Option<EndedReservation>, limit: u32) -> Query<'static> {
    let from = after.map_or(Timestamp::UNIX_EPOCH, |after| after.expires_at);
    sqlx::query(ENDED)
        .bind(Moment(now))
        .bind(Moment(from))
        .bind(after.map_or(Uuid::nil(), |after| after.cart.0))
        .bind(i64::from(limit))
}

pub(super) fn ended_of(row: &PgRow) -> Result<EndedReservation> {
    Ok(EndedReservation {
        expires_at: row.time("expires_at")?,
        cart: row.id("cart_id", CartId)?,
        merchant: row.id("merchant_id", MerchantId)?,
    })
}

/// Binds `$1` and `$2`.
fn of_cart(sql: &'static str, merchant: MerchantId, cart: CartId) -> Query<'static> {
    sqlx::query(sql).bind(merchant.0).bind(cart.0)
}
