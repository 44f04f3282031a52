//! Inspection and control. Reads use the read connections: they do not block the writer and have no side effects.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Row, Sqlite, sqlite::SqliteRow};

use super::{
    control::{self, CHUNK_MAX},
    fair,
    fault::SqliteFault,
    file::SqliteEngine,
    row::{self, envelope_columns},
};
use crate::{
    engine::{
        Admin, Alteration, Cancelled, ConsumerInfo, DeadFilter, Depth, EngineError, FairKey, InspectedJob,
        Interrupt, JobFilter, LIST_MAX, page,
    },
    envelope::JobId,
    error::bounded,
};

macro_rules! inspected_columns {
    () => {
        concat!(
            envelope_columns!(),
            ", state, last_error, dead_reason, first_failed_at, died_at, order_at,
               iif(blocked = 3, (SELECT head.id FROM order_keys AS k JOIN jobs AS head ON head.sequence = k.head
                 WHERE k.queue = jobs.queue AND k.key = jobs.order_key), NULL) AS behind"
        )
    };
}

#[async_trait]
impl Admin for SqliteEngine {
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        // Counts scan covering indexes. The oldest job of each priority is first in its index: nine look-ups.
        let row = sqlx::query(
            "SELECT paused,
               (SELECT count(*) FROM jobs WHERE queue = q.name AND state = 'ready') AS ready,
               (SELECT count(*) FROM jobs WHERE queue = q.name AND state = 'delayed') AS delayed,
               (SELECT count(*) FROM jobs WHERE queue = q.name AND state = 'running') AS running,
               (SELECT count(*) FROM jobs WHERE queue = q.name AND state = 'dead') AS dead,
               (SELECT min((SELECT ready_at FROM jobs WHERE queue = q.name AND state = 'ready'
                              AND blocked = b.value AND priority = p.value ORDER BY sequence LIMIT 1))
                FROM json_each('[0,1,2]') AS p, json_each('[0,1,2]') AS b) AS oldest
             FROM queues AS q WHERE name = ?1",
        )
        .bind(queue)
        .fetch_optional(self.file.database.readers())
        .await
        .map_err(SqliteFault::from)?
        .ok_or_else(|| EngineError::NoSuchQueue(queue.to_owned()))?;
        let count = |column: &str| row.get::<i64, _>(column).unsigned_abs();
        let oldest: Option<i64> = row.get("oldest");
        Ok(Depth {
            queue: queue.to_owned(),
            ready: count("ready"),
            delayed: count("delayed"),
            running: count("running"),
            dead: count("dead"),
            oldest_ready_at: oldest.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            paused: row.get("paused"),
        })
    }

    async fn fair_keys(&self, queue: &str, most: u32) -> Result<Option<Vec<FairKey>>, EngineError> {
        Ok(fair::waiting_keys(self.file.database.readers(), queue, most.min(LIST_MAX)).await?)
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        self.file.queue_names().await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        let rows = sqlx::query(
            "SELECT name, queue, lease_until,
               (SELECT count(*) FROM jobs WHERE state = 'running' AND jobs.queue = c.queue
                  AND jobs.consumer = c.session) AS jobs
             FROM consumers AS c ORDER BY queue, name, session LIMIT ?1",
        )
        .bind(LIST_MAX)
        .fetch_all(self.file.database.readers())
        .await
        .map_err(SqliteFault::from)?;
        let info = rows.into_iter().map(|row| ConsumerInfo {
            name: row.get("name"),
            queue: row.get("queue"),
            jobs: row.get::<i64, _>("jobs").unsigned_abs(),
            alive_until: Timestamp::from_millisecond(row.get("lease_until")).unwrap_or(Timestamp::MIN),
        });
        Ok(info.collect())
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), EngineError> {
        let set = sqlx::query("UPDATE queues SET paused = ?2 WHERE name = ?1");
        if self.file.execute(set.bind(queue).bind(paused)).await? == 0 {
            return Err(EngineError::NoSuchQueue(queue.to_owned()));
        }
        self.file.wakes.wake(queue);
        Ok(())
    }

    async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.file.require_queues([queue].into()).await?;
        let mut purged = 0;
        // In this order: a row that is deleted may make the next one of its order key ready.
        for statement in [control::PURGE_DELAYED, control::PURGE_READY] {
            loop {
                let gone = self.file.execute(sqlx::query(statement).bind(queue).bind(CHUNK_MAX)).await?;
                purged += gone;
                if gone < u64::from(CHUNK_MAX) {
                    break;
                }
            }
        }
        // A concurrency key may have been held by a purged job.
        self.file.wakes.wake_all();
        Ok(purged)
    }

    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        let reason = bounded(reason);
        let (found, running) = self.file.write(move |c| Box::pin(control::cancel(c, id, reason))).await?;
        if let Some((sequence, fence)) = running {
            for consumer in self.file.live_consumers() {
                consumer.fire(sequence, fence, Interrupt::Cancelled);
            }
        } else if found == Cancelled::Removed {
            self.file.wakes.wake_all();
        }
        Ok(found)
    }

    async fn retry_now(&self, id: JobId) -> Result<bool, EngineError> {
        let now = self.file.now_ms();
        let queue = self.file.write(move |c| Box::pin(control::retry_now(c, id, now))).await?;
        if let Some(queue) = &queue {
            self.file.wakes.wake(queue);
        }
        Ok(queue.is_some())
    }

    async fn alter(&self, id: JobId, alteration: Alteration) -> Result<bool, EngineError> {
        if let Alteration::Queue(queue) = &alteration {
            self.file.require_queues([queue.as_str()].into()).await?;
        }
        let now = self.file.now_ms();
        let queue = self.file.write(move |c| Box::pin(control::alter(c, id, alteration, now))).await?;
        if let Some(queue) = &queue {
            self.file.wakes.wake(queue);
        }
        Ok(queue.is_some())
    }

    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        let mut jobs: Vec<InspectedJob> = Vec::new();
        let (mut bytes, mut after) = (0, filter.after.map(|id| id.to_string()).unwrap_or_default());
        loop {
            let room =
                filter.limit.min(LIST_MAX).saturating_sub(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
            if room == 0 || bytes >= page::BYTES_MAX {
                return Ok(jobs);
            }
            let rows = self.list_chunk(filter, after, room.min(page::CHUNK_MAX)).await?;
            let Some(last) = rows.last() else { return Ok(jobs) };
            // The text of the row, as a corrupt id has no other place.
            after = row::lossy(last, "id");
            jobs.extend(rows.iter().map(row::inspected));
            bytes = jobs.iter().map(|job| page::bytes_of(&job.envelope)).sum();
        }
    }

    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        let find = sqlx::query(concat!("SELECT ", inspected_columns!(), " FROM jobs WHERE id = ?1"));
        let found = find.bind(id.to_string()).fetch_optional(self.file.database.readers()).await;
        Ok(found.map_err(SqliteFault::from)?.as_ref().map(row::inspected))
    }

    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        let now = self.file.now_ms();
        let mut ids = Vec::new();
        let mut after = filter.after.map(|id| id.to_string()).unwrap_or_default();
        loop {
            let left = filter.limit.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            let limit = left.min(CHUNK_MAX);
            let (filter, cursor) = (filter.clone(), after.clone());
            let (redriven, last) = self
                .file
                .write(move |c| Box::pin(control::redrive_chunk(c, filter, cursor, limit, now)))
                .await?;
            ids.extend(redriven.iter().map(|id| row::id_of(id)));
            match last {
                Some(last) if limit > 0 => after = last,
                _ => break,
            }
        }
        self.file.wakes.wake_all();
        Ok(ids)
    }

    async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, EngineError> {
        if filter.dry_run {
            let mut count = control::count_dead(filter);
            let row = count.build().fetch_one(self.file.database.readers()).await;
            let count = row.map_err(SqliteFault::from)?.get::<i64, _>(0).unsigned_abs();
            return Ok(count.min(u64::from(filter.limit)));
        }
        let filter = filter.clone();
        self.file.write(move |c| Box::pin(control::drop_dead(c, filter))).await
    }
}

impl SqliteEngine {
    /// A part of a listing.
    async fn list_chunk(
        &self,
        filter: &JobFilter,
        after: String,
        limit: u32,
    ) -> Result<Vec<SqliteRow>, EngineError> {
        let mut select = sqlx::QueryBuilder::<Sqlite>::new(concat!(
            "SELECT ",
            inspected_columns!(),
            " FROM jobs WHERE id > "
        ));
        select.push_bind(after);
        if let Some(state) = filter.state {
            // A literal: with a bound state the planner could not use the partial indexes.
            select.push(" AND state = '").push(state.as_str()).push("'");
        }
        row::only(&mut select, &[("queue", filter.queue.as_deref()), ("kind", filter.kind.as_deref())]);
        // Ids are UUIDv7: they sort by creation, and a page can continue after a job that has been deleted.
        select.push(" ORDER BY id LIMIT ").push_bind(limit);
        Ok(select.build().fetch_all(self.file.database.readers()).await.map_err(SqliteFault::from)?)
    }
}
