//! Mapping of rows to orders.

use base::sqlite::{Query, SqliteError};
use sqlx::sqlite::SqliteRow;
use store::{
    domain::{Customer, MerchantId, Order, OrderId, OrderToken, Shipment},
    rules::Damage,
};

use super::fault::SqliteFault;
use crate::row::{get, json, json_if_any, number, parsed, parsed_if_any, time, time_if_any};

/// The order with this id, of any merchant.
pub(super) fn by_id(id: OrderId) -> Query<'static> {
    sqlx::query("SELECT * FROM orders WHERE id = ?1").bind(id.to_string())
}

/// A merchant's order.
pub(super) fn of_merchant(merchant: MerchantId, id: OrderId) -> Query<'static> {
    let query = sqlx::query("SELECT * FROM orders WHERE merchant_id = ?1 AND id = ?2");
    query.bind(merchant.to_string()).bind(id.to_string())
}

/// Reads a whole row of `orders`.
pub(super) fn order(row: &SqliteRow) -> Result<Order, SqliteFault> {
    read(row).map_err(|fault| match fault {
        SqliteFault(SqliteError::Corrupt(detail)) => {
            SqliteFault::corrupt(format!("order {}: {detail}", get::<&str>(row, "id").unwrap_or("?")))
        }
        other => other,
    })
}

/// The captured amount of the order in this row.
pub(super) fn captured_minor(row: &SqliteRow) -> Result<Option<i64>, SqliteFault> {
    Ok(get(row, "captured_minor")?)
}

fn read(row: &SqliteRow) -> Result<Order, SqliteFault> {
    Ok(Order {
        id: parsed(row, "id")?,
        merchant: parsed(row, "merchant_id")?,
        status: parsed(row, "status")?,
        currency: parsed(row, "currency")?,
        total_minor: get(row, "total_minor")?,
        refunded_minor: get(row, "refunded_minor")?,
        lines: json(row, "lines")?,
        customer: Customer { email: get(row, "customer_email")?, name: get(row, "customer_name")? },
        account: parsed_if_any(row, "customer_id")?,
        token: token(row)?,
        payment_method: get(row, "payment_method")?,
        shipping_address: json_if_any(row, "shipping_address")?,
        reference: get(row, "reference")?,
        status_reason: get(row, "status_reason")?,
        shipment: shipment(row)?,
        event_sequence: number(row, "event_sequence")?,
        trace: parsed_if_any(row, "trace")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn shipment(row: &SqliteRow) -> Result<Option<Shipment>, SqliteFault> {
    let id = parsed_if_any(row, "shipment_id")?;
    let shipped_at = time_if_any(row, "shipped_at")?;
    Ok(id.zip(shipped_at).map(|(id, shipped_at)| Shipment { id, shipped_at }))
}

fn token(row: &SqliteRow) -> Result<Option<OrderToken>, SqliteFault> {
    let hash: Option<&[u8]> = get(row, "token_hash")?;
    let hash = hash.map(|bytes| bytes.try_into().map_err(|error| Damage::column("token_hash", error)));
    let expires_at = time_if_any(row, "token_expires_at")?;
    Ok(hash.transpose()?.zip(expires_at).map(|(hash, expires_at)| OrderToken { hash, expires_at }))
}
