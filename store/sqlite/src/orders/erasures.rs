//! Erasure of a customer's personal data in orders and their events, and its record. Money stays.

use base::sqlite::Query;
use store::{
    customers::{ERASE_ORDERS_MAX, Erasure},
    domain::{CustomerId, MerchantId},
    rules::columns::Columns,
};

use super::{
    fault::{Result, to_json},
    transaction::Unit,
};

pub(super) const OPEN_ORDERS: &str = "
    SELECT count(*) AS orders FROM orders
    WHERE merchant_id = ?1 AND customer_id = ?2 AND status IN ('pending', 'paid')";
pub(super) const ERASABLE: &str = "
    SELECT id FROM orders WHERE merchant_id = ?1 AND customer_id = ?2 AND customer_email <> '' ORDER BY id LIMIT ?3";
const ERASE_ORDERS: &str = "
    UPDATE orders SET customer_email = '', customer_name = '', shipping_address = NULL, reference = NULL,
        token_hash = NULL, token_expires_at = NULL
    WHERE merchant_id = ?1 AND id IN (SELECT value FROM json_each(?2))";
pub(super) const ERASE_EVENTS: &str = "
    UPDATE outbox SET data = json_set(data, '$.customer', NULL, '$.shipping_address', NULL, '$.reference', NULL)
    WHERE order_id IN (SELECT value FROM json_each(?1)) AND sequence IS NOT NULL AND kind LIKE 'order.%'";
const RECORD_OF: &str = "
    SELECT orders, requested_by, erased_at FROM customer_erasures WHERE merchant_id = ?1 AND customer_id = ?2";
const RECORD: &str = "
    INSERT INTO customer_erasures (merchant_id, customer_id, orders, requested_by, erased_at)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (merchant_id, customer_id) DO UPDATE SET orders = orders + excluded.orders,
        requested_by = excluded.requested_by, erased_at = excluded.erased_at";

/// Orders that still need the customer's data.
pub(super) async fn open_orders(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    customer: CustomerId,
) -> Result<u64> {
    let row = unit.row(of_customer(OPEN_ORDERS, merchant, customer)).await?;
    row.map_or(Ok(0), |row| row.number("orders"))
}

/// Erases the data in some orders; returns their number and whether others are left.
pub(super) async fn erase_orders(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    customer: CustomerId,
) -> Result<(u64, bool)> {
    let limit = i64::from(ERASE_ORDERS_MAX) + 1;
    let rows = unit.rows(of_customer(ERASABLE, merchant, customer).bind(limit)).await?;
    let mut ids = rows.iter().map(|row| row.text("id")).collect::<Result<Vec<_>>>()?;
    let max = usize::try_from(ERASE_ORDERS_MAX).unwrap_or(usize::MAX);
    let has_more = ids.len() > max;
    ids.truncate(max);
    let ids = to_json(&ids)?;
    let erased = unit.run(sqlx::query(ERASE_ORDERS).bind(merchant.to_string()).bind(ids.clone())).await?;
    unit.run(sqlx::query(ERASE_EVENTS).bind(ids)).await?;
    Ok((erased, has_more))
}

pub(super) async fn is_recorded(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    customer: CustomerId,
) -> Result<bool> {
    Ok(unit.row(record_of(merchant, customer)).await?.is_some())
}

pub(super) async fn record(unit: &mut Unit<'_>, erasure: &Erasure, orders: u64) -> Result<()> {
    let query = of_customer(RECORD, erasure.merchant, erasure.customer)
        .bind(i64::try_from(orders).unwrap_or(i64::MAX))
        .bind(erasure.requested_by.clone())
        .bind(unit.at_ms());
    unit.run(query).await?;
    Ok(())
}

pub(super) fn record_of(merchant: MerchantId, customer: CustomerId) -> Query<'static> {
    of_customer(RECORD_OF, merchant, customer)
}

/// Binds `?1` and `?2`.
fn of_customer(sql: &'static str, merchant: MerchantId, customer: CustomerId) -> Query<'static> {
    sqlx::query(sql).bind(merchant.to_string()).bind(customer.to_string())
}
