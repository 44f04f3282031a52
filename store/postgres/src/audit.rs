//! [`Audit`]: scans over all merchants, and the repairs that an audit may make.
//!
//! Guarantees: every read is answered by a primary. During a migration the rows of a merchant are in two databases;
//! each is listed once, and sums are read on the merchant's shard. The audit mark is stored in the first shard. Values
//! that are compared are read by one statement, so in one snapshot; a reservation is repaired under its product's lock,
//! which every transaction that changes a reservation holds until its commit.

use async_trait::async_trait;
use base::{
    Timestamp,
    ids::{Uuid, floor},
    postgres::Database,
};
use sqlx::postgres::PgRow;
use store::{
    audit::{
        Audit, AuditMark, AuditedEndpoint, OrderMoney, OrderRecords, SETTLEMENTS_MAX, Settlement, StockCount,
    },
    domain::{EventId, MerchantId, OrderId},
    error::Result,
    rules::{
        columns::Columns,
        records::RecordsPage,
        rows,
        transitions::{asked_by, is_called_off},
    },
};

use super::{
    PostgresOrders,
    fault::{self, PostgresFault},
    order_records,
    order_row::{self, columns},
    refunds,
    router::ReadMode,
    row::{get, to_json},
    timestamps::Moment,
    transaction::Unit,
};
use crate::partitions::earliest_of;

/// Orders read at once.
const OPEN_PAGE: i64 = 500;
pub(super) const ALL: &str = "SELECT id FROM orders WHERE id > $1 ORDER BY id LIMIT $2";
pub(super) const TOUCHED: &str = "
    SELECT id, order_id FROM outbox WHERE id > $1 AND id < $2 AND order_id IS NOT NULL ORDER BY id LIMIT $3";
// The subject of an order's messages is the order's id.
pub(super) const MONEY: &str = "
    SELECT payment_id, provider_reference, captured_minor, settlements::text AS settlements,
        (SELECT min(u.at) FROM outbox_unsent AS u WHERE u.subject = $1) AS unsent_since
    FROM orders WHERE id = $1";
pub(super) const REFUNDS: &str = "
    SELECT id, amount_minor, requested_at, recorded_at, failed_at FROM refunds WHERE order_id = $1 ORDER BY id";
pub(super) const COMMANDS: &str = "
    SELECT id, data::text AS data FROM outbox
    WHERE order_id = $1 AND order_id IS NOT NULL AND sequence IS NULL AND id >= $2";
// The sum of a bigint column is numeric; the cast converts it back. Lines that do not read back count as nothing.
pub(super) const STOCK: &str = "
    WITH held AS MATERIALIZED (
        SELECT o.merchant_id, line ->> 'sku' AS sku,
            sum(CASE WHEN line ->> 'quantity' ~ '^[0-9]{1,9}$' THEN (line ->> 'quantity')::bigint END)::bigint
                AS quantity
        FROM orders AS o CROSS JOIN LATERAL json_array_elements(
            CASE WHEN json_typeof(o.lines) = 'array' THEN o.lines ELSE '[]' END) AS line
        WHERE o.status IN ('pending', 'paid') GROUP BY 1, 2),
    carts AS MATERIALIZED (
        SELECT r.merchant_id, line ->> 'sku' AS sku, sum((line ->> 'quantity')::bigint)::bigint AS quantity
        FROM cart_reservations AS r CROSS JOIN LATERAL json_array_elements(r.lines) AS line
        WHERE r.merchant_id >= $1 GROUP BY 1, 2),
    page AS MATERIALIZED (
        SELECT merchant_id, sku, on_hand, reserved FROM products
        WHERE (merchant_id, sku) > ($1, $2) ORDER BY merchant_id, sku LIMIT $3)
    SELECT p.merchant_id, p.sku, p.on_hand, p.reserved,
        coalesce(held.quantity, 0) + coalesce(carts.quantity, 0) AS held
    FROM page AS p LEFT JOIN held ON held.merchant_id = p.merchant_id AND held.sku = p.sku COLLATE \"C\"
        LEFT JOIN carts ON carts.merchant_id = p.merchant_id AND carts.sku = p.sku COLLATE \"C\"
    ORDER BY p.merchant_id, p.sku";
const LOCK: &str = "SELECT sku FROM products WHERE merchant_id = $1 AND sku = $2 FOR NO KEY UPDATE";
pub(super) const SET_RESERVED: &str = "
    UPDATE products AS p SET reserved = held.quantity, updated_at = $3
    FROM (SELECT coalesce(sum((line ->> 'quantity')::bigint), 0)::bigint AS quantity
        FROM (
            SELECT lines FROM orders WHERE status IN ('pending', 'paid') AND merchant_id = $1
            UNION ALL SELECT lines FROM cart_reservations WHERE merchant_id = $1) AS holding
        CROSS JOIN LATERAL json_array_elements(holding.lines) AS line
        WHERE line ->> 'sku' = $2) AS held
    WHERE p.merchant_id = $1 AND p.sku = $2 AND p.reserved <> held.quantity AND held.quantity <= p.on_hand";
pub(super) const OPEN: &str = select!(
    " FROM orders WHERE merchant_id = $1 AND id > $2
          AND status NOT IN ('fulfilled', 'payment_failed', 'cancelled', 'refunded') ORDER BY id LIMIT $3"
);
pub(super) const ENDPOINTS: &str = "
    SELECT id, events::text AS events, enabled, coalesce(changed_at, created_at) AS since FROM webhook_endpoints
    WHERE merchant_id = $1";
const SETTLE: &str = "
    UPDATE orders SET settlements = (coalesce(settlements::jsonb, '[]') || $2::jsonb)::json
    WHERE id = $1 AND jsonb_array_length(coalesce(settlements::jsonb, '[]')) < $3";
const MARK: &str = "SELECT mark::text AS mark FROM audit_mark";
const SET_MARK: &str = "
    INSERT INTO audit_mark (one, mark) VALUES (true, $1::json) ON CONFLICT (one) DO UPDATE SET mark = excluded.mark";

#[async_trait]
impl Audit for PostgresOrders {
    async fn all_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>> {
        let read = |database: Database| async move {
            let query = sqlx::query(ALL).bind(after.map_or(Uuid::nil(), |id| id.0)).bind(i64::from(limit));
            database.rows(query).await?.iter().map(|row| row.id("id", OrderId)).collect()
        };
        Ok(merged(self.router.pages(read).await?, limit))
    }

    async fn touched_orders(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(EventId, OrderId)>> {
        let read = |database: Database| async move {
            let query = sqlx::query(TOUCHED)
                .bind(after.map_or_else(|| floor(from), |id| id.0))
                .bind(floor(until))
                .bind(i64::from(limit));
            let touched = |row: &PgRow| Ok((row.id("id", EventId)?, row.id("order_id", OrderId)?));
            database.rows(query).await?.iter().map(touched).collect()
        };
        Ok(merged(self.router.pages(read).await?, limit))
    }

    async fn order_money(&self, order: OrderId) -> Result<Option<OrderMoney>> {
        let read = |database| async move { order_money(&database, order).await };
        Ok(self.router.read(order, ReadMode::Primary, read, Option::is_none).await?)
    }

    async fn order_records(&self, orders: &[OrderId]) -> Result<Option<Vec<OrderRecords>>> {
        let pages = self.router.read_together(orders, order_records::read).await?;
        Ok(pages.and_then(|pages| RecordsPage::join(pages, orders)))
    }

    async fn stored_orders(&self, orders: &[OrderId]) -> Result<Vec<OrderId>> {
        let read = |database: Database, ids: Vec<Uuid>| async move {
            let rows = database.rows(sqlx::query(order_records::STORED).bind(ids)).await?;
            rows.iter().map(|row| row.id("id", OrderId)).collect::<fault::Result<Vec<_>>>()
        };
        let pages = self.router.read_together(orders, read).await?.unwrap_or_default();
        Ok(pages.into_iter().flatten().collect())
    }

    async fn stock_counts(&self, after: Option<(MerchantId, String)>, limit: u32) -> Result<Vec<StockCount>> {
        let (mut after, mut found) = (after, Vec::new());
        // Copies of migrated merchants are dropped after they were listed, so a page may need more than one round.
        loop {
            let from = &after;
            let read = |database| async move { stock_counts(&database, from.as_ref(), limit).await };
            let pages = self.router.pages(read).await?;
            let is_last = pages.iter().all(|page| page.len() < limit as usize);
            let of_member = |(member, page): (usize, Vec<StockCount>)| {
                page.into_iter().map(move |count| (count.merchant, count.sku.clone(), member, count))
            };
            let mut all: Vec<_> = pages.into_iter().enumerate().flat_map(of_member).collect();
            all.sort_by(|(a, x, ..), (b, y, ..)| (a, x).cmp(&(b, y)));
            all.truncate(limit as usize);
            after = all.last().map(|(merchant, sku, ..)| (*merchant, sku.clone()));
            for (merchant, _, member, count) in all {
                if self.router.lives_on(merchant, member).await? {
                    found.push(count);
                }
            }
            if is_last || found.len() >= limit as usize {
                return Ok(found);
            }
        }
    }

    async fn open_orders_read_back(&self, merchant: MerchantId) -> Result<bool> {
        for (number, member) in self.router.members().iter().enumerate() {
            if self.router.lives_on(merchant, number).await? {
                let read_back = member
                    .primary
                    .write(&merchant, |unit, merchant| Box::pin(open_orders_read_back(unit, *merchant)));
                return Ok(read_back.await?);
            }
        }
        Ok(true)
    }

    async fn audited_endpoints(&self, merchant: MerchantId) -> Result<Vec<AuditedEndpoint>> {
        let query = || sqlx::query(ENDPOINTS).bind(merchant.0);
        Ok(self.router.rows(merchant, ReadMode::Primary, query, rows::audited_endpoint).await?)
    }

    async fn repair_reservation(&self, merchant: MerchantId, sku: &str, at: Timestamp) -> Result<bool> {
        let repaired = self.router.write(merchant, (merchant, sku, at), |unit, (merchant, sku, at)| {
            Box::pin(async move {
                // A statement of its own: the next one then sees the rows committed while this one waited.
                unit.row(sqlx::query(LOCK).bind(merchant.0).bind(*sku)).await?;
                if !open_orders_read_back(unit, *merchant).await? {
                    return Ok(false);
                }
                let query = sqlx::query(SET_RESERVED).bind(merchant.0).bind(*sku).bind(Moment(*at));
                Ok(unit.run(query).await? > 0)
            })
        });
        Ok(repaired.await?)
    }

    async fn request_missing_refund(&self, order: OrderId, at: Timestamp) -> Result<bool> {
        let requested = self.router.write(order, (order, at), |unit, (order, at)| {
            Box::pin(request_missing_refund(unit, *order, *at))
        });
        Ok(requested.await?)
    }

    async fn settle(&self, order: OrderId, settlement: &Settlement) -> Result<bool> {
        let settlement = to_json(settlement)?;
        let query =
            || sqlx::query(SETTLE).bind(order.0).bind(settlement.clone()).bind(i64::from(SETTLEMENTS_MAX));
        Ok(self.router.run(order, query).await? > 0)
    }

    async fn audit_mark(&self) -> Result<Option<AuditMark>> {
        let row = self.router.first().reads().row(sqlx::query(MARK)).await.map_err(PostgresFault::from)?;
        Ok(row.map(|row| row.json("mark")).transpose()?)
    }

    async fn set_audit_mark(&self, mark: &AuditMark) -> Result<()> {
        self.router.first().run(sqlx::query(SET_MARK).bind(to_json(mark)?)).await?;
        Ok(())
    }
}

/// One page from the pages of all members; entries that two of them contain appear once.
pub(super) fn merged<T: Ord>(pages: Vec<Vec<T>>, limit: u32) -> Vec<T> {
    let mut all: Vec<T> = pages.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(limit as usize);
    all
}

async fn order_money(database: &Database, order: OrderId) -> fault::Result<Option<OrderMoney>> {
    let Some(row) = database.row(sqlx::query(MONEY).bind(order.0)).await? else { return Ok(None) };
    let refunds = database.rows(sqlx::query(REFUNDS).bind(order.0)).await?;
    let mut refunds = refunds.iter().map(rows::order_refund).collect::<fault::Result<Vec<_>>>()?;
    if !refunds.is_empty() {
        let query = sqlx::query(COMMANDS).bind(order.0).bind(earliest_of(order));
        let commands = database.rows(query).await?;
        asked_by(&mut refunds, commands.iter().map(rows::command::<PostgresFault>));
    }
    let (capture, unsent_since) = (rows::capture(&row)?, row.time_if_any("unsent_since")?);
    let settlements = row.json_if_any("settlements")?.unwrap_or_default();
    Ok(Some(OrderMoney { capture, refunds, unsent_since, settlements }))
}

async fn stock_counts(
    database: &Database,
    after: Option<&(MerchantId, String)>,
    limit: u32,
) -> fault::Result<Vec<StockCount>> {
    let (merchant, sku) = after.map_or((Uuid::nil(), ""), |(merchant, sku)| (merchant.0, sku));
    let query = sqlx::query(STOCK).bind(merchant).bind(sku).bind(i64::from(limit));
    database.rows(query).await?.iter().map(rows::stock_count).collect()
}

async fn open_orders_read_back(unit: &mut Unit, merchant: MerchantId) -> fault::Result<bool> {
    let mut after = Uuid::nil();
    loop {
        let query = sqlx::query(OPEN).bind(merchant.0).bind(after).bind(OPEN_PAGE);
        let rows = unit.rows(query).await?;
        if rows.iter().any(|row| order_row::order(row).is_err()) {
            return Ok(false);
        }
        let Some(last) = rows.last() else { return Ok(true) };
        after = get(last, "id")?;
    }
}

async fn request_missing_refund(unit: &mut Unit, order: OrderId, at: Timestamp) -> fault::Result<bool> {
    let Some((order, Some(captured_minor))) = order_row::lock_captured(unit, order).await? else {
        return Ok(false);
    };
    if !is_called_off(&order) {
        return Ok(false);
    }
    refunds::give_back(unit, &order, captured_minor, at).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_merge_in_order_and_hold_each_once() {
        assert_eq!(merged(vec![vec![1, 3, 5], vec![2, 3, 9]], 4), [1, 2, 3, 5]);
    }
}
