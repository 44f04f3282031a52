//! Operator actions on queues and jobs: declare, pause, purge, cancel, retry, redrive.

use std::sync::PoisonError;

use sqlx::{Row, Sqlite, SqliteConnection};

use super::{SqliteQueue, fault::QueueFault, fault::bounded, row};
use crate::{
    engine::{Cancelled, DeadFilter, EngineError, Interrupt, QueueSpec},
    envelope::JobId,
};

/// Longest queue name, in characters.
const QUEUE_NAME_MAX: usize = 60;
/// Rows changed in one transaction by purge and redrive, which bounds how long other writers wait.
const CHUNK_MAX: u32 = 1000;

/// Makes a dead row ready with fresh counters; a row whose unique key a live row holds is not changed.
macro_rules! revive {
    () => {
        "UPDATE OR IGNORE jobs SET state = 'ready', blocked = 0, run_at = NULL, ready_at = ?2, attempt = 0, \
         crashes = 0, dead_reason = NULL, first_failed_at = NULL, died_at = NULL"
    };
}

impl SqliteQueue {
    pub(super) async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        for QueueSpec { name } in queues {
            let well_formed = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !well_formed || name.is_empty() || name.len() > QUEUE_NAME_MAX {
                let text = format!("queue name `{name}` is not [a-z0-9_]{{1,{QUEUE_NAME_MAX}}}");
                return Err(EngineError::Refused(text));
            }
        }
        let names: Vec<String> = queues.iter().map(|q| q.name.clone()).collect();
        let json = serde_json::Value::from(names.clone()).to_string();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO queues (name) SELECT value FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
                )
                .bind(json)
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await?;
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        Ok(())
    }

    pub(super) async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), EngineError> {
        let name = queue.to_owned();
        let found = self
            .write(move |c| {
                Box::pin(async move {
                    let set = sqlx::query("UPDATE queues SET paused = ?2 WHERE name = ?1");
                    Ok(set.bind(name).bind(paused).execute(c).await?.rows_affected())
                })
            })
            .await?;
        if found == 0 {
            return Err(EngineError::NoSuchQueue(queue.to_owned()));
        }
        self.wakes.wake(queue);
        Ok(())
    }

    pub(super) async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.require_queues([queue].into()).await?;
        let mut purged = 0;
        for state in ["ready", "delayed"] {
            loop {
                let name = queue.to_owned();
                let gone = self.write(move |c| Box::pin(purge_chunk(c, name, state))).await?;
                purged += gone;
                if gone < u64::from(CHUNK_MAX) {
                    break;
                }
            }
        }
        // A concurrency key may have been held by a purged job.
        self.wakes.wake_all();
        Ok(purged)
    }

    pub(super) async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        let reason = bounded(reason);
        let (found, running) = self.write(move |c| Box::pin(cancel(c, id, reason))).await?;
        if let Some((sequence, fence)) = running {
            for consumer in self.live_consumers() {
                consumer.fire(sequence, fence, Interrupt::Cancelled);
            }
        } else if found == Cancelled::Removed {
            self.wakes.wake_all();
        }
        Ok(found)
    }

    pub(super) async fn retry_now(&self, id: JobId) -> Result<bool, EngineError> {
        let now = self.now_ms();
        let queue = self.write(move |c| Box::pin(retry_now(c, id, now))).await?;
        if let Some(queue) = &queue {
            self.wakes.wake(queue);
        }
        Ok(queue.is_some())
    }

    pub(super) async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        let now = self.now_ms();
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let left = filter.limit.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            let limit = left.min(CHUNK_MAX);
            let (filter, cursor) = (filter.clone(), after.clone());
            let chunk = self.write(move |c| Box::pin(redrive_chunk(c, filter, cursor, limit, now))).await?;
            ids.extend(chunk.ids.iter().map(|id| row::id_of(id)));
            match chunk.last {
                Some(last) if limit > 0 => after = last,
                _ => break,
            }
        }
        self.wakes.wake_all();
        Ok(ids)
    }
}

async fn purge_chunk(
    c: &mut SqliteConnection,
    queue: String,
    state: &'static str,
) -> Result<u64, QueueFault> {
    let purge = if state == "ready" {
        "DELETE FROM jobs WHERE sequence IN (
           SELECT sequence FROM jobs WHERE queue = ?1 AND state = 'ready' LIMIT ?2)"
    } else {
        "DELETE FROM jobs WHERE sequence IN (
           SELECT sequence FROM jobs WHERE queue = ?1 AND state = 'delayed' LIMIT ?2)"
    };
    Ok(sqlx::query(purge).bind(queue).bind(CHUNK_MAX).execute(c).await?.rows_affected())
}

/// Result of the request, and for a running job its row and fencing token.
async fn cancel(
    c: &mut SqliteConnection,
    id: JobId,
    reason: String,
) -> Result<(Cancelled, Option<(i64, i64)>), QueueFault> {
    let removed = sqlx::query("DELETE FROM jobs WHERE id = ?1 AND state IN ('ready', 'delayed')");
    if removed.bind(id.to_string()).execute(&mut *c).await?.rows_affected() > 0 {
        return Ok((Cancelled::Removed, None));
    }
    let asked = sqlx::query_as(
        "UPDATE jobs SET cancel_requested = ?2 WHERE id = ?1 AND state = 'running' RETURNING sequence, fence",
    );
    let running = asked.bind(id.to_string()).bind(reason).fetch_optional(c).await?;
    let found = if running.is_some() { Cancelled::Requested } else { Cancelled::NotFound };
    Ok((found, running))
}

/// Returns the queue of the job made ready, if there was one.
async fn retry_now(c: &mut SqliteConnection, id: JobId, now: i64) -> Result<Option<String>, QueueFault> {
    let delayed = sqlx::query_scalar(
        "UPDATE jobs SET state = 'ready', blocked = 0, run_at = NULL, ready_at = ?2
         WHERE id = ?1 AND state = 'delayed' RETURNING queue",
    );
    if let Some(queue) = delayed.bind(id.to_string()).bind(now).fetch_optional(&mut *c).await? {
        return Ok(Some(queue));
    }
    let revived: Option<String> =
        sqlx::query_scalar(concat!(revive!(), " WHERE id = ?1 AND state = 'dead' RETURNING queue"))
            .bind(id.to_string())
            .bind(now)
            .fetch_optional(&mut *c)
            .await?;
    if revived.is_some() {
        return Ok(revived);
    }
    let dead = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND state = 'dead')");
    if dead.bind(id.to_string()).fetch_one(c).await? {
        let text = format!("{id}: another job with its unique key waits or runs");
        return Err(EngineError::Refused(text).into());
    }
    Ok(None)
}

struct Chunk {
    ids: Vec<String>,
    last: Option<String>,
}

/// One transaction of a redrive: the next dead jobs after `after`. Jobs whose unique key is held stay dead.
async fn redrive_chunk(
    c: &mut SqliteConnection,
    filter: DeadFilter,
    after: String,
    limit: u32,
    now: i64,
) -> Result<Chunk, QueueFault> {
    let mut select = sqlx::QueryBuilder::<Sqlite>::new(
        "SELECT id FROM jobs AS d WHERE state = 'dead' AND NOT EXISTS (
           SELECT 1 FROM jobs AS l WHERE l.unique_key = d.unique_key AND l.state <> 'dead') AND id > ",
    );
    select.push_bind(after);
    if let Some(queue) = filter.queue {
        select.push(" AND queue = ").push_bind(queue);
    }
    if let Some(kind) = filter.kind {
        select.push(" AND kind = ").push_bind(kind);
    }
    if let Some(reason) = filter.reason {
        select.push(" AND dead_reason = ").push_bind(reason.as_str());
    }
    if let Some(text) = filter.error_contains {
        select.push(" AND instr(last_error, ").push_bind(text).push(") > 0");
    }
    if let Some(since) = filter.since {
        select.push(" AND died_at >= ").push_bind(since.as_millisecond());
    }
    select.push(" ORDER BY id LIMIT ").push_bind(limit);
    let found: Vec<String> = select.build_query_scalar().fetch_all(&mut *c).await?;
    let last = found.last().cloned();
    if filter.dry_run {
        return Ok(Chunk { ids: found, last });
    }
    let revived = sqlx::query(concat!(
        revive!(),
        " WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'dead' RETURNING id"
    ));
    let json = serde_json::Value::from(found).to_string();
    let revived = revived.bind(json).bind(now).fetch_all(c).await?;
    let mut ids: Vec<String> = revived.iter().map(|row| row.get("id")).collect();
    ids.sort_unstable();
    Ok(Chunk { ids, last })
}
