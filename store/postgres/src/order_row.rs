//! Mapping of rows to orders.

use sqlx::postgres::PgRow;
use store::{
    domain::{Customer, CustomerId, MerchantId, Order, OrderId, OrderToken, Shipment, ShipmentId},
    rules::Damage,
};

use super::{
    fault::PostgresFault,
    row::{get, id, id_if_any, json, json_if_any, number, parsed, parsed_if_any, time, time_if_any},
    timestamps::Moment,
    transaction::Unit,
};

/// The columns of an order. Named, because a prepared `SELECT *` fails for the lifetime of a connection once a column
/// is added.
macro_rules! columns {
    () => {
        "id, merchant_id, status, currency, total_minor, refunded_minor, lines::text AS lines, customer_email, \
         customer_name, payment_method, shipping_address::text AS shipping_address, reference, status_reason, \
         captured_minor, shipment_id, shipped_at, event_sequence, trace, created_at, updated_at, \
         customer_id, token_hash, token_expires_at"
    };
}
pub(super) use columns;

pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM orders WHERE id = $1");
pub(super) const OF_MERCHANT: &str =
    concat!("SELECT ", columns!(), " FROM orders WHERE id = $1 AND merchant_id = $2");
pub(super) const REPLACE_TOKEN: &str =
    "UPDATE orders SET token_hash = $3, token_expires_at = $4 WHERE id = $1 AND merchant_id = $2";
const LOCKED: &str = concat!("SELECT ", columns!(), " FROM orders WHERE id = $1 FOR NO KEY UPDATE");

/// The order with this id, of any merchant, without a lock.
pub(super) async fn find(unit: &mut Unit, id: OrderId) -> Result<Option<Order>, PostgresFault> {
    unit.row(sqlx::query(BY_ID).bind(id.0)).await?.as_ref().map(order).transpose()
}

/// The order with this id, of any merchant, locked until the unit ends.
pub(super) async fn lock(unit: &mut Unit, id: OrderId) -> Result<Option<Order>, PostgresFault> {
    unit.row(sqlx::query(LOCKED).bind(id.0)).await?.as_ref().map(order).transpose()
}

/// The same with the captured amount; `None` without a capture.
pub(super) async fn lock_captured(
    unit: &mut Unit,
    id: OrderId,
) -> Result<Option<(Order, i64)>, PostgresFault> {
    let Some(row) = unit.row(sqlx::query(LOCKED).bind(id.0)).await? else { return Ok(None) };
    let order = order(&row)?;
    Ok(captured_minor(&row)?.map(|captured_minor| (order, captured_minor)))
}

/// See [`store::orders::Orders::replace_order_token`].
pub(super) async fn replace_token(
    unit: &mut Unit,
    (merchant, id): (MerchantId, OrderId),
    token: Option<&OrderToken>,
) -> Result<bool, PostgresFault> {
    let query = sqlx::query(REPLACE_TOKEN)
        .bind(id.0)
        .bind(merchant.0)
        .bind(token.map(|token| &token.hash[..]))
        .bind(token.map(|token| Moment(token.expires_at)));
    Ok(unit.run(query).await? > 0)
}

/// A merchant's order, without a lock.
pub(super) async fn find_of(
    unit: &mut Unit,
    merchant: MerchantId,
    id: OrderId,
) -> Result<Option<Order>, PostgresFault> {
    let query = sqlx::query(OF_MERCHANT).bind(id.0).bind(merchant.0);
    unit.row(query).await?.as_ref().map(order).transpose()
}

/// Reads a whole row of `orders`.
pub(super) fn order(row: &PgRow) -> Result<Order, PostgresFault> {
    read(row).map_err(|fault| match fault {
        PostgresFault::Corrupt(detail) => {
            let order = id(row, "id", OrderId).map_or_else(|_| "?".to_owned(), |id| id.to_string());
            PostgresFault::Corrupt(format!("order {order}: {detail}"))
        }
        other => other,
    })
}

/// The captured amount of the order in this row.
pub(super) fn captured_minor(row: &PgRow) -> Result<Option<i64>, PostgresFault> {
    get(row, "captured_minor")
}

fn read(row: &PgRow) -> Result<Order, PostgresFault> {
    Ok(Order {
        id: id(row, "id", OrderId)?,
        merchant: id(row, "merchant_id", MerchantId)?,
        status: parsed(row, "status")?,
        currency: parsed(row, "currency")?,
        total_minor: get(row, "total_minor")?,
        refunded_minor: get(row, "refunded_minor")?,
        lines: json(row, "lines")?,
        customer: Customer { email: get(row, "customer_email")?, name: get(row, "customer_name")? },
        account: id_if_any(row, "customer_id", CustomerId)?,
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

fn shipment(row: &PgRow) -> Result<Option<Shipment>, PostgresFault> {
    let id = id_if_any(row, "shipment_id", ShipmentId)?;
    let shipped_at = time_if_any(row, "shipped_at")?;
    Ok(id.zip(shipped_at).map(|(id, shipped_at)| Shipment { id, shipped_at }))
}

fn token(row: &PgRow) -> Result<Option<OrderToken>, PostgresFault> {
    let hash: Option<&[u8]> = get(row, "token_hash")?;
    let hash = hash.map(|bytes| bytes.try_into().map_err(|error| Damage::column("token_hash", error)));
    let expires_at = time_if_any(row, "token_expires_at")?;
    Ok(hash.transpose()?.zip(expires_at).map(|(hash, expires_at)| OrderToken { hash, expires_at }))
}
