//! Mapping of rows to orders.

use base::sqlite::{Query, SqliteError};
use sqlx::sqlite::SqliteRow;
use store::{
    domain::{MerchantId, Order, OrderId},
    rules::{columns::Columns, rows},
};

use super::fault::{Result, SqliteFault};
use crate::row::get;

/// The order with this id, of any merchant.
pub(super) fn by_id(id: OrderId) -> Query<'static> {
    sqlx::query("SELECT * FROM orders WHERE id = ?1").bind(id.to_string())
}

/// A merchant's order.
pub(super) fn of_merchant(merchant: MerchantId, id: OrderId) -> Query<'static> {
    let query = sqlx::query("SELECT * FROM orders WHERE merchant_id = ?1 AND id = ?2");
    query.bind(merchant.to_string()).bind(id.to_string())
}

pub(super) fn order(row: &SqliteRow) -> Result<Order> {
    rows::order(row).map_err(|fault| match fault {
        SqliteFault(SqliteError::Corrupt(detail)) => {
            SqliteFault::corrupt(format!("order {}: {detail}", get::<&str>(row, "id").unwrap_or("?")))
        }
        other => other,
    })
}

pub(super) fn captured_minor(row: &SqliteRow) -> Result<Option<i64>> {
    row.integer_if_any("captured_minor")
}
