//! Reads of queues and jobs over the read connections: they do not block the writer and have no side effects.

use base::Timestamp;
use sqlx::{Row, Sqlite};

use super::{
    SqliteQueue,
    fault::QueueFault,
    row::{self, envelope_columns},
};
use crate::{
    engine::{ConsumerInfo, Depth, EngineError, InspectedJob, JobFilter, JobState},
    envelope::JobId,
};

/// Most jobs returned by one listing.
const LIST_MAX: u32 = 1000;

macro_rules! held_columns {
    () => {
        concat!(envelope_columns!(), ", state, last_error, dead_reason, first_failed_at, died_at")
    };
}

impl SqliteQueue {
    pub(super) async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        let rows = sqlx::query(
            "SELECT name, queue, lease_until,
               (SELECT count(*) FROM jobs WHERE state = 'running' AND jobs.queue = c.queue
                  AND jobs.consumer = c.session) AS jobs
             FROM consumers AS c ORDER BY queue, name, session LIMIT ?1",
        )
        .bind(LIST_MAX)
        .fetch_all(self.database.readers())
        .await
        .map_err(QueueFault::from)?;
        let info = rows.into_iter().map(|row| ConsumerInfo {
            name: row.get("name"),
            queue: row.get("queue"),
            jobs: row.get::<i64, _>("jobs").unsigned_abs(),
            alive_until: Timestamp::from_millisecond(row.get("lease_until")).unwrap_or(Timestamp::MIN),
        });
        Ok(info.collect())
    }

    pub(super) async fn queue_names(&self) -> Result<Vec<String>, EngineError> {
        let names = sqlx::query_scalar("SELECT name FROM queues ORDER BY name");
        Ok(names.fetch_all(self.database.readers()).await.map_err(QueueFault::from)?)
    }

    pub(super) async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        // Counts scan covering indexes. The oldest job of each priority is first in its index: six look-ups.
        let row = sqlx::query(
            "SELECT paused,
               (SELECT count(*) FROM jobs WHERE queue = q.name AND state = 'ready') AS ready,
               (SELECT count(*) FROM jobs WHERE queue = q.name AND state = 'delayed') AS delayed,
               (SELECT count(*) FROM jobs WHERE queue = q.name AND state = 'running') AS running,
               (SELECT count(*) FROM jobs WHERE queue = q.name AND state = 'dead') AS dead,
               (SELECT min((SELECT ready_at FROM jobs WHERE queue = q.name AND state = 'ready'
                              AND blocked = b.value AND priority = p.value ORDER BY sequence LIMIT 1))
                FROM json_each('[0,1,2]') AS p, json_each('[0,1]') AS b) AS oldest
             FROM queues AS q WHERE name = ?1",
        )
        .bind(queue)
        .fetch_optional(self.database.readers())
        .await
        .map_err(QueueFault::from)?
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

    pub(super) async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        let mut select =
            sqlx::QueryBuilder::<Sqlite>::new(concat!("SELECT ", held_columns!(), " FROM jobs WHERE id > "));
        select.push_bind(filter.after.map(|id| id.to_string()).unwrap_or_default());
        if let Some(state) = filter.state {
            // A literal: with a bound state the planner could not use the partial indexes.
            select.push(match state {
                JobState::Ready => " AND state = 'ready'",
                JobState::Delayed => " AND state = 'delayed'",
                JobState::Running => " AND state = 'running'",
                JobState::Dead => " AND state = 'dead'",
            });
        }
        if let Some(queue) = &filter.queue {
            select.push(" AND queue = ").push_bind(queue);
        }
        if let Some(kind) = &filter.kind {
            select.push(" AND kind = ").push_bind(kind);
        }
        // Ids are UUIDv7: they sort by creation, and a page can continue after a job that has been deleted.
        select.push(" ORDER BY id LIMIT ").push_bind(filter.limit.min(LIST_MAX));
        let rows = select.build().fetch_all(self.database.readers()).await.map_err(QueueFault::from)?;
        Ok(rows.iter().map(row::held).collect())
    }

    pub(super) async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        let find = sqlx::query(concat!("SELECT ", held_columns!(), " FROM jobs WHERE id = ?1"));
        let found = find.bind(id.to_string()).fetch_optional(self.database.readers()).await;
        Ok(found.map_err(QueueFault::from)?.as_ref().map(row::held))
    }
}
