//! Mapping of rows to orders.

use sqlx::postgres::PgRow;
use store::{
    domain::{Order, OrderId},
    rules::{columns::Columns, rows},
};

use super::{fault::PostgresFault, transaction::Unit};

/// The columns of an order. Named, because a prepared `SELECT *` fails for the lifetime of a connection once a column
/// is added.
macro_rules! columns {
    () => {
        "id, merchant_id, status, currency, total_minor, refunded_minor, lines::text AS lines, customer_email, \
         customer_name, payment_method, shipping_address::text AS shipping_address, reference, status_reason, \
         captured_minor, shipment_id, shipped_at, event_sequence, trace, created_at, updated_at, \
         customer_id, token_hash, token_expires_at, adjustments::text AS adjustments"
    };
}
pub(super) use columns;

pub(super) const BY_ID: &str = select!(" FROM orders WHERE id = $1");
pub(super) const OF_MERCHANT: &str = select!(" FROM orders WHERE id = $1 AND merchant_id = $2");
const LOCKED: &str = select!(" FROM orders WHERE id = $1 FOR NO KEY UPDATE");

/// The order with this id, of any merchant, without a lock.
pub(super) async fn find(unit: &mut Unit, id: OrderId) -> Result<Option<Order>, PostgresFault> {
    unit.row(sqlx::query(BY_ID).bind(id.0)).await?.as_ref().map(order).transpose()
}

/// The order with this id, of any merchant, locked until the unit ends.
pub(super) async fn lock(unit: &mut Unit, id: OrderId) -> Result<Option<Order>, PostgresFault> {
    Ok(lock_captured(unit, id).await?.map(|(order, _)| order))
}

/// The same with the captured amount.
pub(super) async fn lock_captured(
    unit: &mut Unit,
    id: OrderId,
) -> Result<Option<(Order, Option<i64>)>, PostgresFault> {
    let row = unit.row(sqlx::query(LOCKED).bind(id.0)).await?;
    row.map(|row| Ok((order(&row)?, captured_minor(&row)?))).transpose()
}

pub(super) fn order(row: &PgRow) -> Result<Order, PostgresFault> {
    rows::order(row).map_err(|fault| match fault {
        PostgresFault::Corrupt(detail) => {
            let order = row.id("id", OrderId).map_or_else(|_| "?".to_owned(), |id| id.to_string());
            PostgresFault::Corrupt(format!("order {order}: {detail}"))
        }
        other => other,
    })
}

pub(super) fn captured_minor(row: &PgRow) -> Result<Option<i64>, PostgresFault> {
    row.integer_if_any("captured_minor")
}
