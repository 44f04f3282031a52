//! [`Admission`]: the load of the installation, and waiting rooms.

use async_trait::async_trait;
use base::{Timestamp, ids::floor, postgres::Database};
use futures::future::join_all;
use store::{
    admission::{
        Admission, ENDED_MAX, LoadSpan, OPEN_COUNTED_MAX, OrderLoad, PLACES_MAX, ROOMS_MAX, RoomProgress,
        STUCK_MAX, SaleMode, WAITING_LOOKED_AT_MAX, WaitingRoom,
    },
    domain::MerchantId,
    error::Result,
    outbox::SET_ASIDE,
    rules::{admission, columns::Columns},
};

use super::{
    PostgresOrders, fault, place_order, router::ReadMode, row::to_json, timestamps::Moment, transaction::Unit,
};

macro_rules! columns {
    () => {
        "merchant_id, mode::text AS mode, key, taken, progress::text AS progress, version, stepped_at"
    };
}

// Here and below without copies that a migration made or left.
pub(super) const OPEN: &str = "
    SELECT count(*) AS open FROM (
        SELECT 1 FROM orders AS o WHERE o.status IN ('pending', 'paid') AND o.id > $1 AND o.debit_at IS NULL
            AND EXISTS (SELECT 1 FROM merchants AS m WHERE m.id = o.merchant_id AND m.state IN ('active', 'moving'))
        LIMIT $2) AS counted";
// The oldest of those that wait, and for each whether a later order of its merchant has gone on: the latest one of each
// state, so that the index gives it at once.
pub(super) const UNPAID: &str = "
    SELECT w.created_at AS since FROM (
        SELECT o.merchant_id, o.id, o.created_at FROM orders AS o
        WHERE o.status = 'pending' AND o.id > $1 AND o.debit_at IS NULL
            AND EXISTS (SELECT 1 FROM merchants AS m WHERE m.id = o.merchant_id AND m.state IN ('active', 'moving'))
        ORDER BY o.id LIMIT $2) AS w
    WHERE NOT EXISTS (
        SELECT 1 FROM unnest('{paid, fulfilled, payment_failed, refunded}'::text[]) AS s (status) CROSS JOIN LATERAL (
            SELECT n.id FROM orders AS n WHERE n.merchant_id = w.merchant_id AND n.status = s.status AND n.id > w.id
            ORDER BY n.id DESC LIMIT 1) AS later)
    ORDER BY w.id LIMIT 1 OFFSET $3";
pub(super) const UNSENT: &str = "
    SELECT o.at AS since FROM outbox_unsent AS o
    WHERE o.relay IS DISTINCT FROM $1 AND NOT EXISTS (
        SELECT 1 FROM outbox_unsent AS e
        WHERE e.subject = o.subject AND e.position < o.position AND e.relay = $1)
    ORDER BY o.position LIMIT 1";
pub(super) const ENDED: &str = "
    SELECT order_id, kind, at FROM outbox
    WHERE kind IN ('order.fulfilled', 'payment.failed') AND at > $1 ORDER BY at DESC LIMIT $2";
pub(super) const ROOMS: &str = select!(
    " FROM waiting_rooms AS r WHERE switch <> 'off'
        AND EXISTS (SELECT 1 FROM merchants AS m WHERE m.id = r.merchant_id AND m.state IN ('active', 'moving'))
    ORDER BY merchant_id LIMIT $1"
);
pub(super) const ROOM: &str = select!(" FROM waiting_rooms WHERE merchant_id = $1");
const SET: &str = "
    INSERT INTO waiting_rooms (merchant_id, switch, mode, key, taken, progress, version, stepped_at)
    SELECT id, $2, $3::json, $4, 0, $5::json, 1, $6 FROM merchants WHERE id = $1
    ON CONFLICT (merchant_id) DO UPDATE SET switch = EXCLUDED.switch, mode = EXCLUDED.mode,
        key = CASE WHEN waiting_rooms.switch = 'off' THEN EXCLUDED.key ELSE waiting_rooms.key END,
        taken = CASE WHEN waiting_rooms.switch = 'off' THEN 0 ELSE waiting_rooms.taken END,
        progress = CASE WHEN waiting_rooms.switch = 'off' THEN EXCLUDED.progress ELSE waiting_rooms.progress END,
        version = waiting_rooms.version + 1, stepped_at = EXCLUDED.stepped_at";
const TAKE: &str = "
    UPDATE waiting_rooms SET taken = taken + $2 WHERE merchant_id = $1 AND switch <> 'off' RETURNING taken";
const STEP: &str = "
    UPDATE waiting_rooms SET progress = $3::json, version = version + 1, stepped_at = $4
    WHERE merchant_id = $1 AND version = $2 AND switch <> 'off'";

#[async_trait]
impl Admission for PostgresOrders {
    async fn order_load(&self, span: LoadSpan) -> Result<OrderLoad> {
        let members = self.router.members();
        let measured = join_all(members.iter().map(|member| load(member.primary.reads(), span))).await;
        let answers = measured.into_iter().reduce(|one, other| match (one, other) {
            (Ok(one), Ok(other)) => Ok(together(one, other)),
            (Err(_), answer) | (answer, Err(_)) => answer,
        });
        Ok(answers.unwrap_or_else(|| Ok(OrderLoad::default()))?)
    }

    async fn recorded_answer(&self, merchant: MerchantId, key: &str) -> Result<Option<String>> {
        let query = || sqlx::query(place_order::RECORDED).bind(merchant.0).bind(key);
        Ok(self.router.row(merchant, ReadMode::Primary, query, |row| row.text("body")).await?)
    }

    async fn waiting_rooms(&self) -> Result<Vec<WaitingRoom>> {
        let read = |database: Database| async move {
            let rows = database.rows(sqlx::query(ROOMS).bind(i64::from(ROOMS_MAX))).await?;
            rows.iter().map(admission::waiting_room).collect::<fault::Result<Vec<_>>>()
        };
        let mut rooms: Vec<_> = self.router.pages(read).await?.into_iter().flatten().collect();
        rooms.sort_by_key(|room| room.merchant);
        rooms.truncate(usize::try_from(ROOMS_MAX).unwrap_or(usize::MAX));
        Ok(rooms)
    }

    async fn waiting_room(&self, merchant: MerchantId) -> Result<Option<WaitingRoom>> {
        let query = || sqlx::query(ROOM).bind(merchant.0);
        Ok(self.router.row(merchant, ReadMode::Primary, query, admission::waiting_room).await?)
    }

    async fn set_sale_mode(
        &self,
        merchant: MerchantId,
        mode: SaleMode,
        key: [u8; 32],
        at: Timestamp,
    ) -> Result<bool> {
        let (text, progress) = (to_json(&mode)?, to_json(&RoomProgress::default())?);
        let query = || {
            sqlx::query(SET)
                .bind(merchant.0)
                .bind(mode.switch.as_str())
                .bind(text.clone())
                .bind(key.to_vec())
                .bind(progress.clone())
                .bind(Moment(at))
        };
        Ok(self.router.run(merchant, query).await? > 0)
    }

    async fn take_places(&self, merchant: MerchantId, count: u32) -> Result<Option<u64>> {
        let facts = (merchant, count.clamp(1, PLACES_MAX));
        let taken = self
            .router
            .write(merchant, facts, |unit, (merchant, count)| Box::pin(take(unit, *merchant, *count)));
        Ok(taken.await?)
    }

    async fn step_room(
        &self,
        merchant: MerchantId,
        version: i64,
        progress: RoomProgress,
        at: Timestamp,
    ) -> Result<bool> {
        let progress = to_json(&progress)?;
        let query =
            || sqlx::query(STEP).bind(merchant.0).bind(version).bind(progress.clone()).bind(Moment(at));
        Ok(self.router.run(merchant, query).await? > 0)
    }
}

async fn load(database: &Database, span: LoadSpan) -> fault::Result<OrderLoad> {
    let placed_after = floor(span.placed_after);
    let open = sqlx::query(OPEN).bind(placed_after).bind(i64::from(OPEN_COUNTED_MAX));
    let unpaid = sqlx::query(UNPAID)
        .bind(placed_after)
        .bind(i64::from(WAITING_LOOKED_AT_MAX))
        .bind(i64::from(STUCK_MAX));
    let ended = sqlx::query(ENDED).bind(Moment(span.ended_after)).bind(i64::from(ENDED_MAX));
    let open = database.row(open).await?.map_or(Ok(0), |row| row.number("open"))?;
    let unpaid_since = database.row(unpaid).await?.map(|row| row.time("since")).transpose()?;
    let unsent = database.row(sqlx::query(UNSENT).bind(SET_ASIDE)).await?;
    let unsent_since = unsent.map(|row| row.time("since")).transpose()?;
    let ended =
        database.rows(ended).await?.iter().map(admission::ended_order).collect::<fault::Result<_>>()?;
    Ok(OrderLoad { open, unpaid_since, unsent_since, ended })
}

/// The load of two shards.
fn together(one: OrderLoad, other: OrderLoad) -> OrderLoad {
    let oldest = |one: Option<Timestamp>, other: Option<Timestamp>| one.into_iter().chain(other).min();
    let mut ended = one.ended;
    ended.extend(other.ended);
    ended.sort_by_key(|ended| std::cmp::Reverse(ended.at));
    ended.truncate(usize::try_from(ENDED_MAX).unwrap_or(usize::MAX));
    OrderLoad {
        open: (one.open + other.open).min(u64::from(OPEN_COUNTED_MAX)),
        unpaid_since: oldest(one.unpaid_since, other.unpaid_since),
        unsent_since: oldest(one.unsent_since, other.unsent_since),
        ended,
    }
}

async fn take(unit: &mut Unit, merchant: MerchantId, count: u32) -> fault::Result<Option<u64>> {
    let row = unit.row(sqlx::query(TAKE).bind(merchant.0).bind(i64::from(count))).await?;
    let taken: Option<u64> = row.map(|row| row.number("taken")).transpose()?;
    Ok(taken.map(|taken| taken.saturating_sub(u64::from(count))))
}
