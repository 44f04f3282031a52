//! [`Outbox`]: claims by relays, and the event log.
//!
//! Guarantees: a claim takes a subject only while it holds the lock of the subject's *oldest* unsent message, and then
//! all of the subject's messages in order. A claim that finds that message locked skips the whole subject (SKIP
//! LOCKED). A claim whose snapshot is older than another claim's commit re-evaluates the row before locking it, and so
//! sees the other's lease. A later message never has a lease that the subject's oldest lacks: one statement sets both.
//! So any number of relays share the work, and none receives a message while another holds an earlier one of the same
//! order.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid, postgres::Database, time::later};
use futures::future::join_all;
use store::{
    domain::{Event, EventId, MerchantId, OrderId, Page, PageRequest},
    error::Result,
    outbox::{Backlog, Command, Outbox, OutboxMessage, Position, SET_ASIDE, SetAside, Submitted},
    rules::{columns::Columns, rows},
};
use tokio::sync::watch;

use super::{
    PostgresOrders,
    database::OrderDatabase,
    fault::{self, PostgresFault},
    order_row,
    outbox_insert::SETTLED,
    router::{Owner, ReadMode},
    row::get,
    timestamps::Moment,
    transaction::Unit,
    webhooks::LOCK_MERCHANT,
};
use crate::partitions::earliest_of;

macro_rules! columns {
    () => {
        "id, position, merchant_id, subject, kind, order_id, sequence, at, data::text AS data, trace"
    };
}

// The inner LIMIT is for the planner only, which otherwise takes an unknown limit for a tenth of the table and sorts
// all of it. Rows are locked one by one as the outer LIMIT asks for them.
pub(super) const CLAIM: &str = "
    WITH heads AS MATERIALIZED (
        SELECT subject FROM (
            SELECT o.position, o.subject FROM outbox_unsent AS o
            WHERE (o.relay IS NULL OR o.relay = $1 OR o.leased_until <= $3) AND NOT EXISTS (
                SELECT 1 FROM outbox_unsent AS e WHERE e.subject = o.subject AND e.position < o.position)
            ORDER BY o.position LIMIT 1000 FOR NO KEY UPDATE OF o SKIP LOCKED) AS free
        LIMIT $4),
    taken AS MATERIALIZED (
        SELECT o.position FROM heads CROSS JOIN LATERAL (
            SELECT position FROM outbox_unsent WHERE subject = heads.subject ORDER BY position LIMIT $4) AS o
        ORDER BY o.position LIMIT $4)
    UPDATE outbox_unsent SET relay = $1, leased_until = $2
    WHERE position = ANY (ARRAY(SELECT position FROM taken)) RETURNING position, id, subject, at";
// The bounds repeat the array's range in a form that lets the planner rule out partitions.
pub(super) const TAKEN: &str =
    select!(" FROM outbox WHERE id = ANY($1) AND id BETWEEN $2 AND $3 ORDER BY position");
pub(super) const MARK_SENT: &str = "DELETE FROM outbox_unsent WHERE position = ANY($1)";
const SET: &str = "UPDATE outbox_unsent SET relay = $2, leased_until = $3 WHERE position = ANY($1)";
pub(super) const LIST: &str = "
    SELECT u.id, u.at, o.merchant_id, o.kind, o.order_id, o.sequence, o.data::text AS data, o.trace
    FROM outbox_unsent AS u LEFT JOIN outbox AS o ON o.id = u.id
    WHERE u.set_aside ORDER BY u.position LIMIT $1";
// By position, not by id: ids of one millisecond have no order, positions have the order of a subject's commits.
pub(super) const EVENTS: &str = select!(
    " FROM outbox WHERE merchant_id = $1 AND sequence IS NOT NULL AND position < $2 ORDER BY position DESC LIMIT $3"
);
pub(super) const POSITION_OF: &str = "SELECT position FROM outbox WHERE id = $1 AND merchant_id = $2";
pub(super) const KNOWN: &str = "SELECT 1 FROM outbox WHERE id = $1";
pub(super) const BY_ID: &str = select!(" FROM outbox WHERE id = $1 AND sequence IS NOT NULL");
pub(super) const ORDER_EVENTS: &str =
    select!(" FROM outbox WHERE order_id = $1 AND sequence > $2 AND id >= $3 ORDER BY sequence LIMIT 1000");
// In the order of an index: a walk over the table passes over the room of all that was sent, too.
pub(super) const BACKLOG: &str = "
    SELECT (SELECT count(*) FROM (SELECT FROM outbox_unsent ORDER BY position LIMIT $1) AS counted) AS messages,
        (SELECT at FROM outbox_unsent ORDER BY position LIMIT 1) AS oldest_at,
        (SELECT count(*) FROM (
            SELECT FROM outbox_unsent WHERE set_aside ORDER BY position LIMIT $1) AS counted) AS set_aside";

#[async_trait]
impl Outbox for PostgresOrders {
    async fn submit(&self, id: EventId, command: Command, at: Timestamp) -> Result<Submitted> {
        let owner = match (&command, command.order()) {
            (Command::Resend { merchant, .. }, _) => Owner::from(*merchant),
            (_, Some(order)) => Owner::from(order),
            (_, None) => return Ok(Submitted::NoSuchOrder),
        };
        let submitted = self.router.write(owner, (id, command, at), |unit, (id, command, at)| {
            Box::pin(submit(unit, *id, command, *at))
        });
        Ok(submitted.await?)
    }

    async fn claim(
        &self,
        relay: &str,
        limit: u32,
        lease: Duration,
        at: Timestamp,
    ) -> Result<Vec<OutboxMessage>> {
        let until = later(at, lease);
        let claim = |database: OrderDatabase, limit| async move {
            let facts = (relay, limit, until, at);
            let claimed = database.write(&facts, |unit, (relay, limit, until, at)| {
                Box::pin(claim(unit, relay, *limit, *until, *at))
            });
            let on_shard = |message: OutboxMessage| OutboxMessage {
                position: Position { shard: database.number(), ..message.position },
                ..message
            };
            Ok(claimed.await?.into_iter().map(on_shard).collect())
        };
        Ok(self.router.claim(limit, claim).await?)
    }

    async fn mark_sent(&self, positions: &[Position], _at: Timestamp) -> Result<()> {
        let marking = self.router.members().iter().map(|member| mark_sent(&member.primary, positions));
        Ok(join_all(marking).await.into_iter().collect::<Result<_, _>>()?)
    }

    async fn set_aside(&self, positions: &[Position], until: Timestamp) -> Result<()> {
        for member in self.router.members() {
            let numbers = numbers_on(&member.primary, positions);
            if !numbers.is_empty() {
                let query = sqlx::query(SET).bind(&numbers).bind(SET_ASIDE).bind(Moment(until));
                member.primary.run(query).await?;
            }
        }
        Ok(())
    }

    async fn list_set_aside(&self, limit: u32) -> Result<Vec<SetAside>> {
        let read = |database: Database| async move {
            let query = sqlx::query(LIST).bind(i64::from(limit));
            Ok(database.rows(query).await?.iter().map(rows::set_aside).collect::<Vec<_>>())
        };
        Ok(self.router.pages(read).await?.into_iter().flatten().take(limit as usize).collect())
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.router.arrivals()
    }

    async fn backlog_up_to(&self, most: u64) -> Result<Backlog> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let backlogs = self.router.pages(|database| async move { backlog(&database, most).await }).await?;
        Ok(Backlog {
            messages: backlogs.iter().map(|backlog| backlog.messages).sum(),
            oldest_at: backlogs.iter().filter_map(|backlog| backlog.oldest_at).min(),
            set_aside: backlogs.iter().map(|backlog| backlog.set_aside).sum(),
        })
    }

    async fn events(&self, merchant: MerchantId, page: PageRequest<EventId>) -> Result<Page<Event>> {
        let read = |database| async move { events(&database, merchant, page).await };
        // From the primary: only there is it known which positions are under way.
        Ok(self.router.read(merchant, ReadMode::Primary, read, |_| false).await?)
    }

    async fn event_by_id(&self, id: EventId) -> Result<Option<Event>> {
        let query = || sqlx::query(BY_ID).bind(id.0);
        Ok(self.router.row(id, ReadMode::Primary, query, rows::event).await?)
    }

    async fn order_events(&self, order: OrderId, after: u64) -> Result<Vec<Event>> {
        let query = || {
            sqlx::query(ORDER_EVENTS)
                .bind(order.0)
                .bind(i64::try_from(after).unwrap_or(i64::MAX))
                .bind(earliest_of(order))
        };
        // From the primary: an arrival wakes the reader before a replica can have the event.
        Ok(self.router.rows(order, ReadMode::Primary, query, rows::event).await?)
    }
}

async fn events(
    database: &Database,
    merchant: MerchantId,
    page: PageRequest<EventId>,
) -> fault::Result<Page<Event>> {
    let before = match page.after {
        None => i64::MAX,
        Some(id) => {
            let row = database.row(sqlx::query(POSITION_OF).bind(id.0).bind(merchant.0)).await?;
            row.map_or(Ok(0), |row| get(&row, "position"))?
        }
    };
    let settled = database.row(sqlx::query(SETTLED)).await?.map_or(Ok(0), |row| get(&row, "position"))?;
    // A position up to the settled one is never drawn later, so who has read the newest event has missed none.
    let before = before.min(i64::saturating_add(settled, 1));
    let query = sqlx::query(EVENTS).bind(merchant.0).bind(before).bind(i64::from(page.limit) + 1);
    let events = database.rows(query).await?.iter().map(rows::event).collect::<fault::Result<_>>()?;
    Ok(Page::from_overfetched(events, page.limit))
}

async fn backlog(database: &Database, most: i64) -> fault::Result<Backlog> {
    let row = database.row(sqlx::query(BACKLOG).bind(most)).await?;
    let row = row.ok_or_else(|| PostgresFault::Corrupt("a SELECT of sums returned no row".to_owned()))?;
    Ok(Backlog {
        messages: row.number("messages")?,
        oldest_at: row.time_if_any("oldest_at")?,
        set_aside: row.number("set_aside")?,
    })
}

/// Those of the positions that are in this database. In order, so that two relays that write the same rows do not
/// deadlock.
fn numbers_on(database: &OrderDatabase, positions: &[Position]) -> Vec<i64> {
    let here = positions.iter().filter(|position| position.shard == database.number());
    let mut numbers: Vec<i64> = here.map(|position| position.number).collect();
    numbers.sort_unstable();
    numbers
}

async fn mark_sent(database: &OrderDatabase, positions: &[Position]) -> fault::Result<()> {
    let numbers = numbers_on(database, positions);
    if numbers.is_empty() {
        return Ok(());
    }
    let marked = database.write(&numbers, |unit, numbers| {
        Box::pin(async move {
            // Other relays may then claim messages that they skipped because this relay held the subject.
            unit.wake_relays();
            unit.run(sqlx::query(MARK_SENT).bind(numbers)).await
        })
    });
    marked.await.map(drop)
}

/// Stores a command unless its id is known. Under the lock of the order, or of the merchant, reading first is safe, and
/// the positions of the order's messages ascend.
async fn submit(unit: &mut Unit, id: EventId, command: &Command, at: Timestamp) -> fault::Result<Submitted> {
    if let Command::Resend { merchant, event, .. } = command {
        unit.row(sqlx::query(LOCK_MERCHANT).bind(merchant.0)).await?;
        if unit.row(sqlx::query(KNOWN).bind(id.0)).await?.is_some() {
            return Ok(Submitted::Already);
        }
        unit.messages(at).resend(id, (*merchant, *event), command)?;
        return Ok(Submitted::Stored);
    }
    let Some(order) = command.order() else { return Ok(Submitted::NoSuchOrder) };
    let Some(order) = order_row::lock(unit, order).await? else { return Ok(Submitted::NoSuchOrder) };
    if unit.row(sqlx::query(KNOWN).bind(id.0)).await?.is_some() {
        return Ok(Submitted::Already);
    }
    unit.messages(at).command_as(id, &order, command)?;
    Ok(Submitted::Stored)
}

async fn claim(
    unit: &mut Unit,
    relay: &str,
    limit: u32,
    until: Timestamp,
    at: Timestamp,
) -> fault::Result<Vec<OutboxMessage>> {
    let query = sqlx::query(CLAIM).bind(relay).bind(Moment(until)).bind(Moment(at)).bind(i64::from(limit));
    let taken = unit.rows(query).await?;
    let mut ids = taken.iter().map(|row| get(row, "id")).collect::<Result<Vec<Uuid>, _>>()?;
    ids.sort_unstable();
    let (Some(first), Some(last)) = (ids.first().copied(), ids.last().copied()) else {
        return Ok(Vec::new());
    };
    let query = sqlx::query(TAKEN).bind(&ids).bind(first).bind(last);
    let logged = unit.rows(query).await?;
    let mut messages = logged.iter().map(rows::message).collect::<fault::Result<Vec<_>>>()?;
    if messages.len() < taken.len() {
        let known: HashSet<_> = messages.iter().map(|message| message.position).collect();
        let all = taken.iter().map(|row| rows::unreadable(row, "the message is not in the log"));
        let all = all.collect::<fault::Result<Vec<_>>>()?;
        messages.extend(all.into_iter().filter(|message| !known.contains(&message.position)));
        messages.sort_unstable_by_key(|message| message.position);
    }
    Ok(messages)
}
