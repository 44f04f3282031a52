//! [`Audit`]: scans over all merchants, and the repairs that an audit may make.

use async_trait::async_trait;
use base::{Timestamp, ids};
use sqlx::SqliteConnection;
use store::{
    audit::{
        Audit, AuditMark, AuditedEndpoint, OrderMoney, OrderRecords, SETTLEMENTS_MAX, Settlement, StockCount,
    },
    domain::{EventId, MerchantId, OrderId},
    error::Result,
    rules::{
        columns::Columns,
        rows,
        transitions::{asked_by, is_called_off},
    },
};

use super::{
    SqliteOrders,
    fault::{SqliteFault, to_json},
    order_records, order_row, refunds,
    transaction::Unit,
};

/// Orders read at once.
const OPEN_PAGE: u32 = 500;
pub(super) const ALL: &str = "SELECT id FROM orders WHERE id > ?1 ORDER BY id LIMIT ?2";
pub(super) const TOUCHED: &str = "
    SELECT id, order_id FROM outbox WHERE id > ?1 AND id < ?2 AND order_id IS NOT NULL ORDER BY id LIMIT ?3";
pub(super) const REFUNDS: &str = "
    SELECT id, amount_minor, requested_at, recorded_at, failed_at FROM refunds WHERE order_id = ?1 ORDER BY id";
pub(super) const COMMANDS: &str = "
    SELECT id, data FROM outbox INDEXED BY outbox_commands WHERE order_id = ?1 AND sequence IS NULL";
// By the order, not among all unsent messages, which may be many.
pub(super) const UNSENT: &str = "
    SELECT min(at) AS at FROM (
        SELECT at FROM outbox INDEXED BY outbox_by_order
        WHERE order_id = ?1 AND sequence IS NOT NULL AND sent_at IS NULL
        UNION ALL SELECT at FROM outbox INDEXED BY outbox_commands
        WHERE order_id = ?1 AND sequence IS NULL AND sent_at IS NULL)";
// The index is named because the planner may instead scan all orders. Lines that do not read back count as nothing.
pub(super) const STOCK: &str = "
    WITH held AS MATERIALIZED (
        SELECT o.merchant_id, iif(line.type = 'object', line.value ->> 'sku', NULL) AS sku,
            sum(iif(line.type = 'object', CAST(line.value ->> 'quantity' AS INTEGER), 0)) AS quantity
        FROM orders AS o INDEXED BY orders_open, json_each(o.lines) AS line
        WHERE o.status IN ('pending', 'paid') AND json_valid(o.lines) GROUP BY 1, 2),
    carts AS MATERIALIZED (
        SELECT r.merchant_id, line.value ->> 'sku' AS sku, sum(line.value ->> 'quantity') AS quantity
        FROM cart_reservations AS r, json_each(r.lines) AS line WHERE r.merchant_id >= ?1 GROUP BY 1, 2)
    SELECT p.merchant_id, p.sku, p.on_hand, p.reserved,
        coalesce(held.quantity, 0) + coalesce(carts.quantity, 0) AS held
    FROM products AS p LEFT JOIN held ON held.merchant_id = p.merchant_id AND held.sku = p.sku
        LEFT JOIN carts ON carts.merchant_id = p.merchant_id AND carts.sku = p.sku
    WHERE (p.merchant_id, p.sku) > (?1, ?2) ORDER BY p.merchant_id, p.sku LIMIT ?3";
const SET_RESERVED: &str = "
    WITH holding AS MATERIALIZED (
        SELECT o.lines FROM orders AS o INDEXED BY orders_open
        WHERE o.status IN ('pending', 'paid') AND o.merchant_id = ?1
        UNION ALL SELECT r.lines FROM cart_reservations AS r WHERE r.merchant_id = ?1),
    held AS MATERIALIZED (
        SELECT coalesce(sum(line.value ->> 'quantity'), 0) AS quantity
        FROM holding, json_each(holding.lines) AS line WHERE line.value ->> 'sku' = ?2)
    UPDATE products SET reserved = held.quantity, updated_at = ?3 FROM held
    WHERE merchant_id = ?1 AND sku = ?2 AND reserved <> held.quantity AND held.quantity <= on_hand";
const OPEN: &str = "
    SELECT * FROM orders
    WHERE merchant_id = ?1 AND id > ?2 AND status NOT IN ('fulfilled', 'payment_failed', 'cancelled', 'refunded')
    ORDER BY id LIMIT ?3";
const ENDPOINTS: &str = "
    SELECT id, events, enabled, coalesce(changed_at, created_at) AS since FROM webhook_endpoints
    WHERE merchant_id = ?1";
const SETTLE: &str = "
    UPDATE orders SET settlements = json_insert(coalesce(settlements, '[]'), '$[#]', json(?2))
    WHERE id = ?1 AND json_array_length(coalesce(settlements, '[]')) < ?3";
const SET_MARK: &str = "
    INSERT INTO audit_mark (one, mark) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET mark = excluded.mark";

#[async_trait]
impl Audit for SqliteOrders {
    async fn all_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>> {
        let query = sqlx::query(ALL).bind(after.map_or_else(String::new, |id| id.to_string())).bind(limit);
        self.all(query, |row| row.id("id", OrderId)).await
    }

    async fn touched_orders(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(EventId, OrderId)>> {
        let from = after.unwrap_or(EventId(ids::floor(from)));
        let query = sqlx::query(TOUCHED)
            .bind(from.to_string())
            .bind(EventId(ids::floor(until)).to_string())
            .bind(limit);
        self.all(query, |row| Ok((row.id("id", EventId)?, row.id("order_id", OrderId)?))).await
    }

    async fn order_money(&self, order: OrderId) -> Result<Option<OrderMoney>> {
        let mut snapshot = self.database.readers().begin().await.map_err(SqliteFault::from)?;
        Ok(money(&mut snapshot, order).await?)
    }

    async fn order_records(&self, orders: &[OrderId]) -> Result<Option<Vec<OrderRecords>>> {
        let mut snapshot = self.database.readers().begin().await.map_err(SqliteFault::from)?;
        Ok(order_records::read(&mut snapshot, orders).await?)
    }

    async fn stored_orders(&self, orders: &[OrderId]) -> Result<Vec<OrderId>> {
        let query = sqlx::query(order_records::STORED).bind(to_json(orders)?);
        self.all(query, |row| row.id("id", OrderId)).await
    }

    async fn stock_counts(&self, after: Option<(MerchantId, String)>, limit: u32) -> Result<Vec<StockCount>> {
        let (merchant, sku) =
            after.map_or_else(Default::default, |(merchant, sku)| (merchant.to_string(), sku));
        self.all(sqlx::query(STOCK).bind(merchant).bind(sku).bind(limit), rows::stock_count).await
    }

    async fn open_orders_read_back(&self, merchant: MerchantId) -> Result<bool> {
        let at = self.ambient.now();
        Ok(self.write(at, move |unit| Box::pin(open_orders_read_back(unit, merchant))).await?)
    }

    async fn audited_endpoints(&self, merchant: MerchantId) -> Result<Vec<AuditedEndpoint>> {
        self.all(sqlx::query(ENDPOINTS).bind(merchant.to_string()), rows::audited_endpoint).await
    }

    async fn repair_reservation(&self, merchant: MerchantId, sku: &str, at: Timestamp) -> Result<bool> {
        let query = sqlx::query(SET_RESERVED)
            .bind(merchant.to_string())
            .bind(sku.to_owned())
            .bind(at.as_millisecond());
        let repaired = self.write(at, move |unit| {
            Box::pin(async move {
                Ok::<_, SqliteFault>(
                    open_orders_read_back(unit, merchant).await? && unit.run(query).await? > 0,
                )
            })
        });
        Ok(repaired.await?)
    }

    async fn request_missing_refund(&self, order: OrderId, at: Timestamp) -> Result<bool> {
        Ok(self.write(at, move |unit| Box::pin(request_missing_refund(unit, order))).await?)
    }

    async fn settle(&self, order: OrderId, settlement: &Settlement) -> Result<bool> {
        let query = sqlx::query(SETTLE).bind(order.to_string()).bind(to_json(settlement)?);
        Ok(self.run(query.bind(SETTLEMENTS_MAX)).await? > 0)
    }

    async fn audit_mark(&self) -> Result<Option<AuditMark>> {
        self.first(sqlx::query("SELECT mark FROM audit_mark"), |row| row.json("mark")).await
    }

    async fn set_audit_mark(&self, mark: &AuditMark) -> Result<()> {
        self.run(sqlx::query(SET_MARK).bind(to_json(mark)?)).await?;
        Ok(())
    }
}

async fn money(c: &mut SqliteConnection, order: OrderId) -> Result<Option<OrderMoney>, SqliteFault> {
    let Some(row) = order_row::by_id(order).fetch_optional(&mut *c).await? else { return Ok(None) };
    let refunds = sqlx::query(REFUNDS).bind(order.to_string()).fetch_all(&mut *c).await?;
    let mut refunds = refunds.iter().map(rows::order_refund).collect::<Result<Vec<_>, SqliteFault>>()?;
    if !refunds.is_empty() {
        let commands = sqlx::query(COMMANDS).bind(order.to_string()).fetch_all(&mut *c).await?;
        asked_by(&mut refunds, commands.iter().map(rows::command::<SqliteFault>));
    }
    let unsent = sqlx::query(UNSENT).bind(order.to_string()).fetch_one(c).await?;
    let (capture, unsent_since) = (rows::capture(&row)?, unsent.time_if_any("at")?);
    let settlements = row.json_if_any("settlements")?.unwrap_or_default();
    Ok(Some(OrderMoney { capture, refunds, unsent_since, settlements }))
}

async fn open_orders_read_back(unit: &mut Unit<'_>, merchant: MerchantId) -> Result<bool, SqliteFault> {
    let mut after = String::new();
    loop {
        let query = sqlx::query(OPEN).bind(merchant.to_string()).bind(&after).bind(OPEN_PAGE);
        let rows = unit.rows(query).await?;
        if rows.iter().any(|row| order_row::order(row).is_err()) {
            return Ok(false);
        }
        let Some(last) = rows.last() else { return Ok(true) };
        after = last.text("id")?;
    }
}

async fn request_missing_refund(unit: &mut Unit<'_>, order: OrderId) -> Result<bool, SqliteFault> {
    let Some(row) = unit.row(order_row::by_id(order)).await? else { return Ok(false) };
    let order = order_row::order(&row)?;
    let captured = order_row::captured_minor(&row)?.filter(|_| is_called_off(&order));
    let Some(captured_minor) = captured else { return Ok(false) };
    refunds::give_back(unit, &order, captured_minor).await?;
    Ok(!unit.messages.rows.is_empty())
}
