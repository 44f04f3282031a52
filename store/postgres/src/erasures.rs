//! Erasure of a customer's personal data in orders and their events, and its record. Money stays.

use base::ids::Uuid;
use store::{
    customers::{ERASE_ORDERS_MAX, Erasure},
    domain::{CustomerId, MerchantId, OrderId},
    rules::columns::Columns,
};

use super::{
    fault::Result,
    partitions::earliest_of,
    row::{column, get},
    timestamps::Moment,
    transaction::Unit,
};

pub(super) const OPEN_ORDERS: &str = "
    SELECT count(*) AS orders FROM orders
    WHERE merchant_id = $1 AND customer_id = $2 AND status IN ('pending', 'paid')";
pub(super) const ERASABLE: &str = "
    SELECT id FROM orders WHERE merchant_id = $1 AND customer_id = $2 AND customer_email <> ''
    ORDER BY id LIMIT $3 FOR NO KEY UPDATE";
pub(super) const ERASE_ORDERS: &str = "
    UPDATE orders SET customer_email = '', customer_name = '', shipping_address = NULL, reference = NULL,
        token_hash = NULL, token_expires_at = NULL
    FROM unnest($2::uuid[]) AS erased (id) WHERE orders.id = erased.id AND orders.merchant_id = $1";
pub(super) const ERASE_EVENTS: &str = r#"
    UPDATE outbox
    SET data = (outbox.data::jsonb || '{"customer": null, "shipping_address": null, "reference": null}')::json
    FROM unnest($1::uuid[], $2::uuid[]) AS erased (order_id, earliest)
    WHERE outbox.order_id = erased.order_id AND outbox.sequence IS NOT NULL AND outbox.id >= erased.earliest
        AND outbox.kind LIKE 'order.%'"#;
pub(super) const RECORD_OF: &str = "
    SELECT orders, requested_by, erased_at FROM customer_erasures WHERE merchant_id = $1 AND customer_id = $2";
const RECORD: &str = "
    INSERT INTO customer_erasures (merchant_id, customer_id, orders, requested_by, erased_at)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (merchant_id, customer_id) DO UPDATE SET orders = customer_erasures.orders + EXCLUDED.orders,
        requested_by = EXCLUDED.requested_by, erased_at = EXCLUDED.erased_at";

/// Orders that still need the customer's data.
pub(super) async fn open_orders(unit: &mut Unit, merchant: MerchantId, customer: CustomerId) -> Result<u64> {
    let row = unit.row(sqlx::query(OPEN_ORDERS).bind(merchant.0).bind(customer.0)).await?;
    row.map_or(Ok(0), |row| row.number("orders"))
}

/// Erases the data in some orders; returns their number and whether others are left.
pub(super) async fn erase_orders(
    unit: &mut Unit,
    merchant: MerchantId,
    customer: CustomerId,
) -> Result<(u64, bool)> {
    let limit = i64::from(ERASE_ORDERS_MAX) + 1;
    let rows = unit.rows(sqlx::query(ERASABLE).bind(merchant.0).bind(customer.0).bind(limit)).await?;
    let mut ids = rows.iter().map(|row| get(row, "id")).collect::<Result<Vec<Uuid>>>()?;
    let max = usize::try_from(ERASE_ORDERS_MAX).unwrap_or(usize::MAX);
    let has_more = ids.len() > max;
    ids.truncate(max);
    let earliest = column(&ids, |id| earliest_of(OrderId(*id)));
    let erased = unit.run(sqlx::query(ERASE_ORDERS).bind(merchant.0).bind(ids.clone())).await?;
    unit.run(sqlx::query(ERASE_EVENTS).bind(ids).bind(earliest)).await?;
    Ok((erased, has_more))
}

pub(super) async fn is_recorded(unit: &mut Unit, merchant: MerchantId, customer: CustomerId) -> Result<bool> {
    Ok(unit.row(sqlx::query(RECORD_OF).bind(merchant.0).bind(customer.0)).await?.is_some())
}

pub(super) async fn record(unit: &mut Unit, erasure: &Erasure, orders: u64) -> Result<()> {
    let query = sqlx::query(RECORD)
        .bind(erasure.merchant.0)
        .bind(erasure.customer.0)
        .bind(i64::try_from(orders).unwrap_or(i64::MAX))
        .bind(&erasure.requested_by)
        .bind(Moment(erasure.at));
    unit.run(query).await?;
    Ok(())
}
