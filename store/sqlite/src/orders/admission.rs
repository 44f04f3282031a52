//! [`Admission`]: the load of the installation, and waiting rooms.

use async_trait::async_trait;
use base::{Timestamp, ids};
use store::{
    admission::{
        Admission, ENDED_MAX, LoadSpan, OPEN_COUNTED_MAX, OrderLoad, PLACES_MAX, ROOMS_MAX, RoomProgress,
        STUCK_MAX, SaleMode, WAITING_LOOKED_AT_MAX, WaitingRoom,
    },
    domain::{MerchantId, OrderId},
    error::Result,
    outbox::SET_ASIDE,
    rules::{admission, columns::Columns},
};

use super::{
    SqliteOrders,
    fault::{SqliteFault, to_json},
    place_order,
    transaction::Unit,
};

pub(super) const OPEN: &str = "
    SELECT count(*) AS open FROM (
        SELECT 1 FROM orders INDEXED BY orders_open
        WHERE status IN ('pending', 'paid') AND id > ?1 AND debit_at IS NULL LIMIT ?2)";
// The oldest of those that wait, and for each whether a later order of its merchant has gone on. The first condition is
// that of the index, which the planner does not derive from the second.
pub(super) const UNPAID: &str = "
    SELECT w.created_at AS since FROM (
        SELECT merchant_id, id, created_at FROM orders INDEXED BY orders_open
        WHERE status IN ('pending', 'paid') AND status = 'pending' AND id > ?1 AND debit_at IS NULL
        ORDER BY id LIMIT ?2) AS w
    WHERE NOT EXISTS (
        SELECT 1 FROM orders AS n INDEXED BY orders_by_status
        WHERE n.merchant_id = w.merchant_id AND n.id > w.id
            AND n.status IN ('paid', 'fulfilled', 'payment_failed', 'refunded'))
    ORDER BY w.id LIMIT 1 OFFSET ?3";
pub(super) const UNSENT: &str = "
    SELECT o.at AS since FROM outbox AS o INDEXED BY outbox_unsent
    WHERE o.sent_at IS NULL AND (o.relay IS NULL OR o.relay <> ?1) AND NOT EXISTS (
        SELECT 1 FROM outbox AS held INDEXED BY outbox_held
        WHERE held.subject = o.subject AND held.sent_at IS NULL AND held.relay IS NOT NULL AND held.relay = ?1
            AND held.position < o.position)
    ORDER BY o.position LIMIT 1";
pub(super) const ENDED: &str = "
    SELECT order_id, kind, at FROM outbox INDEXED BY outbox_ended
    WHERE kind IN ('order.fulfilled', 'payment.failed') AND at > ?1 ORDER BY at DESC LIMIT ?2";
const ROOMS: &str = "
    SELECT merchant_id, mode, key, taken, progress, version, stepped_at FROM waiting_rooms
    WHERE switch <> 'off' ORDER BY merchant_id LIMIT ?1";
pub(super) const ROOM: &str = "
    SELECT merchant_id, mode, key, taken, progress, version, stepped_at FROM waiting_rooms WHERE merchant_id = ?1";
const SET: &str = "
    INSERT INTO waiting_rooms (merchant_id, switch, mode, key, taken, progress, version, stepped_at)
    SELECT id, ?2, ?3, ?4, 0, ?5, 1, ?6 FROM merchants WHERE id = ?1
    ON CONFLICT (merchant_id) DO UPDATE SET switch = excluded.switch, mode = excluded.mode,
        key = CASE WHEN waiting_rooms.switch = 'off' THEN excluded.key ELSE waiting_rooms.key END,
        taken = CASE WHEN waiting_rooms.switch = 'off' THEN 0 ELSE waiting_rooms.taken END,
        progress = CASE WHEN waiting_rooms.switch = 'off' THEN excluded.progress ELSE waiting_rooms.progress END,
        version = waiting_rooms.version + 1, stepped_at = excluded.stepped_at";
const TAKE: &str = "
    UPDATE waiting_rooms SET taken = taken + ?2 WHERE merchant_id = ?1 AND switch <> 'off' RETURNING taken";
const STEP: &str = "
    UPDATE waiting_rooms SET progress = ?3, version = version + 1, stepped_at = ?4
    WHERE merchant_id = ?1 AND version = ?2 AND switch <> 'off'";

#[async_trait]
impl Admission for SqliteOrders {
    async fn order_load(&self, span: LoadSpan) -> Result<OrderLoad> {
        let placed_after = OrderId(ids::floor(span.placed_after)).to_string();
        let open = sqlx::query(OPEN).bind(placed_after.clone()).bind(OPEN_COUNTED_MAX);
        let unpaid = sqlx::query(UNPAID).bind(placed_after).bind(WAITING_LOOKED_AT_MAX).bind(STUCK_MAX);
        let ended = sqlx::query(ENDED).bind(span.ended_after.as_millisecond()).bind(ENDED_MAX);
        Ok(OrderLoad {
            open: self.first(open, |row| row.number("open")).await?.unwrap_or(0),
            unpaid_since: self.first(unpaid, |row| row.time("since")).await?,
            unsent_since: self.first(sqlx::query(UNSENT).bind(SET_ASIDE), |row| row.time("since")).await?,
            ended: self.all(ended, admission::ended_order).await?,
        })
    }

    async fn recorded_answer(&self, merchant: MerchantId, key: &str) -> Result<Option<String>> {
        let query = sqlx::query(place_order::RECORDED).bind(merchant.to_string()).bind(key);
        self.first(query, |row| row.text("body")).await
    }

    async fn waiting_rooms(&self) -> Result<Vec<WaitingRoom>> {
        self.all(sqlx::query(ROOMS).bind(ROOMS_MAX), admission::waiting_room).await
    }

    async fn waiting_room(&self, merchant: MerchantId) -> Result<Option<WaitingRoom>> {
        self.first(sqlx::query(ROOM).bind(merchant.to_string()), admission::waiting_room).await
    }

    async fn set_sale_mode(
        &self,
        merchant: MerchantId,
        mode: SaleMode,
        key: [u8; 32],
        at: Timestamp,
    ) -> Result<bool> {
        let query = sqlx::query(SET)
            .bind(merchant.to_string())
            .bind(mode.switch.as_str())
            .bind(to_json(&mode)?)
            .bind(key.to_vec())
            .bind(to_json(&RoomProgress::default())?)
            .bind(at.as_millisecond());
        Ok(self.run(query).await? > 0)
    }

    async fn take_places(&self, merchant: MerchantId, count: u32) -> Result<Option<u64>> {
        let count = count.clamp(1, PLACES_MAX);
        let taken = self.write(self.ambient.now(), move |unit| Box::pin(take(unit, merchant, count)));
        Ok(taken.await?)
    }

    async fn step_room(
        &self,
        merchant: MerchantId,
        version: i64,
        progress: RoomProgress,
        at: Timestamp,
    ) -> Result<bool> {
        let query = sqlx::query(STEP)
            .bind(merchant.to_string())
            .bind(version)
            .bind(to_json(&progress)?)
            .bind(at.as_millisecond());
        Ok(self.run(query).await? > 0)
    }
}

async fn take(unit: &mut Unit<'_>, merchant: MerchantId, count: u32) -> Result<Option<u64>, SqliteFault> {
    let row = unit.row(sqlx::query(TAKE).bind(merchant.to_string()).bind(count)).await?;
    let taken: Option<u64> = row.map(|row| row.number("taken")).transpose()?;
    Ok(taken.map(|taken| taken.saturating_sub(u64::from(count))))
}
