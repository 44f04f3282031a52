//! [`Outbox`]: claims by relays, and the event log.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, time::later};
use store::{
    domain::{Event, EventId, MerchantId, OrderId, Page, PageRequest},
    error::Result,
    outbox::{Backlog, Command, Outbox, OutboxMessage, Position, SET_ASIDE, SetAside, Submitted},
    rules::{columns::Columns, rows},
};
use tokio::sync::watch;

use super::{
    SqliteOrders,
    fault::{SqliteFault, to_json},
    order_row,
    transaction::Unit,
};

// A subject is skipped as a whole while another relay holds any of its messages. The index is named because the planner
// may instead scan the table itself, which is ordered as well but contains all sent rows.
pub(super) const CLAIM: &str = "
    UPDATE outbox SET relay = ?1, leased_until = ?2
    WHERE position IN (
        SELECT o.position FROM outbox AS o INDEXED BY outbox_unsent
        WHERE o.sent_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM outbox AS held INDEXED BY outbox_held
            WHERE held.subject = o.subject AND held.sent_at IS NULL AND held.relay IS NOT NULL
                AND held.relay <> ?1 AND held.leased_until > ?3)
        ORDER BY o.position LIMIT ?4)
    RETURNING *";
pub(super) const MARK_SENT: &str = "
    UPDATE outbox SET sent_at = ?2, relay = NULL, leased_until = NULL
    WHERE position IN (SELECT value FROM json_each(?1)) AND sent_at IS NULL";
const SET: &str = "
    UPDATE outbox SET relay = ?2, leased_until = ?3
    WHERE position IN (SELECT value FROM json_each(?1)) AND sent_at IS NULL";
pub(super) const LIST: &str = "
    SELECT * FROM outbox INDEXED BY outbox_held
    WHERE sent_at IS NULL AND relay IS NOT NULL AND relay = ?1 ORDER BY position LIMIT ?2";
// By position, not by id: ids of one millisecond have no order, positions have the order of the commits.
pub(super) const EVENTS: &str = "
    SELECT * FROM outbox WHERE merchant_id = ?1 AND sequence IS NOT NULL AND position < ?2
    ORDER BY position DESC LIMIT ?3";
const EVENT: &str = "SELECT * FROM outbox WHERE id = ?1 AND sequence IS NOT NULL";
const POSITION: &str = "SELECT position FROM outbox WHERE id = ?1 AND merchant_id = ?2";
pub(super) const ORDER_EVENTS: &str =
    "SELECT * FROM outbox WHERE order_id = ?1 AND sequence > ?2 ORDER BY sequence LIMIT 1000";
pub(super) const BACKLOG: &str = "
    SELECT (SELECT count(*) FROM (
            SELECT 1 FROM outbox INDEXED BY outbox_unsent WHERE sent_at IS NULL LIMIT ?2) AS counted) AS messages,
        (SELECT at FROM outbox INDEXED BY outbox_unsent WHERE sent_at IS NULL ORDER BY position LIMIT 1) AS oldest_at,
        (SELECT count(*) FROM (
            SELECT 1 FROM outbox INDEXED BY outbox_held
            WHERE sent_at IS NULL AND relay IS NOT NULL AND relay = ?1 LIMIT ?2) AS counted) AS set_aside";

#[async_trait]
impl Outbox for SqliteOrders {
    async fn submit(&self, id: EventId, command: Command, at: Timestamp) -> Result<Submitted> {
        Ok(self.write(at, move |unit| Box::pin(submit(unit, id, command))).await?)
    }

    async fn claim(
        &self,
        relay: &str,
        limit: u32,
        lease: Duration,
        at: Timestamp,
    ) -> Result<Vec<OutboxMessage>> {
        let until = later(at, lease).as_millisecond();
        let query = sqlx::query(CLAIM).bind(relay).bind(until).bind(at.as_millisecond()).bind(limit);
        let rows = self.write(at, move |unit| Box::pin(unit.rows(query))).await?;
        let mut messages: Vec<_> = rows.iter().map(rows::message).collect::<Result<_, SqliteFault>>()?;
        // RETURNING guarantees no order.
        messages.sort_unstable_by_key(|message| message.position);
        Ok(messages)
    }

    async fn mark_sent(&self, positions: &[Position], at: Timestamp) -> Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        self.run(sqlx::query(MARK_SENT).bind(numbers(positions)?).bind(at.as_millisecond())).await?;
        // Other relays may now claim messages that they skipped because this relay held the subject.
        self.notify();
        Ok(())
    }

    async fn set_aside(&self, positions: &[Position], until: Timestamp) -> Result<()> {
        let query = sqlx::query(SET).bind(numbers(positions)?).bind(SET_ASIDE).bind(until.as_millisecond());
        self.run(query).await?;
        Ok(())
    }

    async fn list_set_aside(&self, limit: u32) -> Result<Vec<SetAside>> {
        self.all(sqlx::query(LIST).bind(SET_ASIDE).bind(limit), |row| Ok(rows::set_aside(row))).await
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    async fn backlog_up_to(&self, most: u64) -> Result<Backlog> {
        let query = sqlx::query(BACKLOG).bind(SET_ASIDE).bind(i64::try_from(most).unwrap_or(i64::MAX));
        let row = query.fetch_one(self.database.readers()).await.map_err(SqliteFault::from)?;
        Ok(Backlog {
            messages: row.number("messages")?,
            oldest_at: row.time_if_any("oldest_at")?,
            set_aside: row.number("set_aside")?,
        })
    }

    async fn events(&self, merchant: MerchantId, page: PageRequest<EventId>) -> Result<Page<Event>> {
        let before = match page.after {
            None => i64::MAX,
            Some(id) => {
                let query = sqlx::query(POSITION).bind(id.to_string()).bind(merchant.to_string());
                self.first(query, |row| row.number("position")).await?.unwrap_or(0)
            }
        };
        let query =
            sqlx::query(EVENTS).bind(merchant.to_string()).bind(before).bind(i64::from(page.limit) + 1);
        Ok(Page::from_overfetched(self.all(query, rows::event).await?, page.limit))
    }

    async fn event_by_id(&self, id: EventId) -> Result<Option<Event>> {
        self.first(sqlx::query(EVENT).bind(id.to_string()), rows::event).await
    }

    async fn order_events(&self, order: OrderId, after: u64) -> Result<Vec<Event>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.all(sqlx::query(ORDER_EVENTS).bind(order.to_string()).bind(after), rows::event).await
    }
}

fn numbers(positions: &[Position]) -> Result<String, SqliteFault> {
    to_json(&positions.iter().map(|position| position.number).collect::<Vec<_>>())
}

/// Stores a command unless its id is known. Reading first is safe: units run one after another.
async fn submit(unit: &mut Unit<'_>, id: EventId, command: Command) -> Result<Submitted, SqliteFault> {
    let known = sqlx::query("SELECT 1 FROM outbox WHERE id = ?1").bind(id.to_string());
    if let Command::Resend { merchant, event, .. } = command {
        if unit.row(known).await?.is_some() {
            return Ok(Submitted::Already);
        }
        unit.messages.resend(id, (merchant, event), &command)?;
        return Ok(Submitted::Stored);
    }
    let Some(order) = command.order() else { return Ok(Submitted::NoSuchOrder) };
    let Some(row) = unit.row(order_row::by_id(order)).await? else { return Ok(Submitted::NoSuchOrder) };
    if unit.row(known).await?.is_some() {
        return Ok(Submitted::Already);
    }
    unit.messages.command_as(id, &order_row::order(&row)?, &command)?;
    Ok(Submitted::Stored)
}
