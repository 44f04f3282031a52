//! Orders as rows.

use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::fault::{Fault, get, json, json_if_any, number, parsed, parsed_if_any, time, time_if_any};
use crate::domain::{Customer, MerchantId, Order, OrderId, Shipment};

/// Any order, inside a unit of work.
pub(super) async fn find(c: &mut SqliteConnection, id: OrderId) -> Result<Option<SqliteRow>, Fault> {
    Ok(sqlx::query("SELECT * FROM orders WHERE id = ?1").bind(id.to_string()).fetch_optional(c).await?)
}

/// A merchant's order, inside a unit of work.
pub(super) async fn find_of(
    c: &mut SqliteConnection,
    merchant: MerchantId,
    id: OrderId,
) -> Result<Option<SqliteRow>, Fault> {
    let query = sqlx::query("SELECT * FROM orders WHERE merchant_id = ?1 AND id = ?2");
    Ok(query.bind(merchant.to_string()).bind(id.to_string()).fetch_optional(c).await?)
}

/// Reads a whole row of `orders`.
pub(super) fn order(row: &SqliteRow) -> Result<Order, Fault> {
    read(row).map_err(|fault| match fault {
        Fault::Damaged(detail) => {
            Fault::Damaged(format!("order {}: {detail}", get::<&str>(row, "id").unwrap_or("?")))
        }
        other => other,
    })
}

/// What was captured for the order in this row.
pub(super) fn captured_minor(row: &SqliteRow) -> Result<Option<i64>, Fault> {
    get(row, "captured_minor")
}

fn read(row: &SqliteRow) -> Result<Order, Fault> {
    Ok(Order {
        id: parsed(row, "id")?,
        merchant: parsed(row, "merchant_id")?,
        status: parsed(row, "status")?,
        currency: parsed(row, "currency")?,
        total_minor: get(row, "total_minor")?,
        refunded_minor: get(row, "refunded_minor")?,
        lines: json(row, "lines")?,
        customer: Customer { email: get(row, "customer_email")?, name: get(row, "customer_name")? },
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

fn shipment(row: &SqliteRow) -> Result<Option<Shipment>, Fault> {
    let id = parsed_if_any(row, "shipment_id")?;
    let shipped_at = time_if_any(row, "shipped_at")?;
    Ok(id.zip(shipped_at).map(|(id, shipped_at)| Shipment { id, shipped_at }))
}
