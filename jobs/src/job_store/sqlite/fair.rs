//! The backlog of fair queues.

use std::collections::HashMap;

use async_trait::async_trait;
use base::{Timestamp, time::ceil_ms};
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteJobStore, engine_error};
use crate::{
    engine::{EngineError, FAIR_COUNTED_MAX, FAIR_UNIT, FairKey, Weights, with_weights},
    job::Priority,
    job_store::{
        Backlog, FairBacklog, FairQueue, ScheduledJob, draw_claim,
        fair::{BEHIND_MAX, distinct, key_of},
        row::{self, columns, time},
    },
    sqlite::fault::SqliteFault,
};

const SET_WEIGHTS: &str = "INSERT INTO fair_weights (queue, key, weight)
    SELECT ?1, value->>0, value->>1 FROM json_each(?2)";

const QUEUES: &str = "SELECT name,
      EXISTS (SELECT 1 FROM scheduled WHERE queue = q.name AND priority = 0 AND tag IS NOT NULL) AS critical,
      EXISTS (SELECT 1 FROM scheduled WHERE queue = q.name AND priority = 1 AND tag IS NOT NULL) AS usual,
      EXISTS (SELECT 1 FROM scheduled WHERE queue = q.name AND priority = 2 AND tag IS NOT NULL) AS bulk
    FROM queues AS q WHERE fair = 1 ORDER BY name";

/// Moves the clock of each key on by its jobs, from that of the queue at least.
const MOVE_KEYS: &str = "
    WITH new AS (
      SELECT value->>'queue' AS queue, value->>'priority' AS priority, value->>'fair_key' AS key, count(*) AS jobs
      FROM json_each(?1) GROUP BY 1, 2, 3),
    steps AS (
      SELECT new.queue, new.priority, new.key, jobs * (?2 / coalesce(w.weight, 1)) AS step
      FROM new LEFT JOIN fair_weights AS w ON w.queue = new.queue AND w.key = new.key)
    INSERT INTO fair_keys (queue, priority, key, next_tag, step)
    SELECT queue, priority, key, step + coalesce(
        (SELECT tag FROM fair_times AS t WHERE t.queue = steps.queue AND t.priority = steps.priority), 0), step
    FROM steps WHERE true
    ON CONFLICT (queue, priority, key) DO UPDATE SET
      next_tag = max(next_tag + excluded.step, excluded.next_tag), step = excluded.step";

/// The tags of a key's jobs are the times that its clock has just passed.
const HOLD: &str = "
    INSERT INTO scheduled (id, queue, kind, due_at, envelope, crashes, last_error, first_failed_at, priority, tag)
    SELECT n.value->>'id', k.queue, n.value->>'kind', n.value->>'due_at', n.value->>'envelope', n.value->>'crashes',
      n.value->>'last_error', n.value->>'first_failed_at', k.priority,
      k.next_tag - k.step + (row_number() OVER (PARTITION BY k.rowid ORDER BY n.key) - 1)
        * (k.step / count(*) OVER (PARTITION BY k.rowid))
    FROM json_each(?1) AS n JOIN fair_keys AS k
      ON k.queue = n.value->>'queue' AND k.priority = n.value->>'priority' AND k.key = n.value->>'fair_key'
    WHERE true
    ON CONFLICT (id) DO UPDATE SET queue = excluded.queue, kind = excluded.kind, due_at = excluded.due_at,
      envelope = iif(iif(json_valid(envelope), envelope->>'attempt', 0) > excluded.envelope->>'attempt',
        envelope, excluded.envelope), crashes = excluded.crashes, last_error = excluded.last_error,
      first_failed_at = excluded.first_failed_at, priority = excluded.priority, tag = excluded.tag,
      claim = 0, claimed_until = 0";

const CLAIM_NEXT: &str = concat!(
    "UPDATE scheduled SET claim = ?3, claimed_until = ?2
     WHERE rowid IN (
       SELECT rowid FROM scheduled WHERE queue = ?4 AND priority = ?5 AND tag IS NOT NULL AND claimed_until <= ?1
       ORDER BY tag, id LIMIT ?6)
     RETURNING ",
    columns!()
);

const MOVE_QUEUE: &str = "INSERT INTO fair_times (queue, priority, tag) VALUES (?1, ?2, ?3)
    ON CONFLICT (queue, priority) DO UPDATE SET tag = max(tag, excluded.tag)";

const FORGET_BEHIND: &str = "DELETE FROM fair_keys WHERE rowid IN (
    SELECT rowid FROM fair_keys WHERE queue = ?1 AND priority = ?2 AND next_tag <= (
      SELECT tag FROM fair_times WHERE queue = ?1 AND priority = ?2) LIMIT ?3)";

/// Jobs of a priority that have the first turns.
macro_rules! first {
    ($priority:literal) => {
        concat!(
            "SELECT due_at FROM (SELECT due_at FROM scheduled INDEXED BY scheduled_fair WHERE queue = ?1 AND priority = ",
            $priority,
            " AND tag IS NOT NULL ORDER BY tag, id LIMIT ?2)"
        )
    };
}

const BACKLOG: &str = concat!(
    "SELECT count(*), min(due_at) FROM (",
    first!(0),
    " UNION ALL ",
    first!(1),
    " UNION ALL ",
    first!(2),
    ")"
);

const WEIGHTS: &str = "SELECT key, weight FROM fair_weights WHERE queue = ?1";

/// A row that cannot be read counts as one without a key.
const WAITING_KEYS: &str = "
    SELECT coalesce(iif(json_valid(envelope), envelope->>'fair_key', NULL), '') AS key, count(*) AS waiting
    FROM (SELECT envelope FROM scheduled INDEXED BY scheduled_fair
      WHERE queue = ?1 AND tag IS NOT NULL ORDER BY priority, tag LIMIT ?2)
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?3";

/// A job as the statements read it.
fn new_row(job: &ScheduledJob) -> serde_json::Result<Value> {
    Ok(json!({
        "id": job.envelope.id,
        "queue": job.envelope.queue,
        "kind": job.envelope.kind,
        "priority": job.envelope.priority as u8,
        "fair_key": key_of(job),
        "due_at": ceil_ms(job.due_at),
        "envelope": serde_json::to_string(&job.envelope)?,
        "crashes": job.crashes,
        "last_error": job.last_error,
        "first_failed_at": job.first_failed_at.map(Timestamp::as_millisecond),
    }))
}

#[async_trait]
impl FairBacklog for SqliteJobStore {
    async fn set_fair(&self, queue: &str, weights: &Weights) -> Result<(), EngineError> {
        let weights: Vec<(&str, u32)> = weights.named().collect();
        let (queue, weights) = (queue.to_owned(), serde_json::to_string(&weights).map_err(engine_error)?);
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("UPDATE queues SET fair = 1 WHERE name = ?1")
                    .bind(&queue)
                    .execute(&mut *c)
                    .await?;
                sqlx::query("DELETE FROM fair_weights WHERE queue = ?1")
                    .bind(&queue)
                    .execute(&mut *c)
                    .await?;
                sqlx::query(SET_WEIGHTS).bind(&queue).bind(&weights).execute(c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn fair_queues(&self) -> Result<Vec<FairQueue>, EngineError> {
        let rows = sqlx::query(QUEUES).fetch_all(self.database.readers()).await.map_err(engine_error)?;
        Ok(rows.iter().map(row::fair_queue).collect())
    }

    async fn hold(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        let rows = distinct(jobs).iter().map(new_row).collect::<Result<Value, _>>().map_err(engine_error)?;
        let rows = rows.to_string();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(MOVE_KEYS).bind(&rows).bind(FAIR_UNIT).execute(&mut *c).await?;
                sqlx::query(HOLD).bind(&rows).execute(c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn claim_next(
        &self,
        queue: &str,
        priority: Priority,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        let claim = FairClaim {
            queue: queue.to_owned(),
            priority: i64::from(priority as u8),
            now: now.as_millisecond(),
            until: until.as_millisecond(),
            limit,
            claim: draw_claim(&self.ambient),
        };
        let mut rows = self.write(move |c| Box::pin(claim.run(c))).await?;
        rows.sort_by_key(|row| (row.get::<Option<i64>, _>("tag"), row.get::<String, _>("id")));
        let (jobs, corrupt) = row::readable(&rows, |row| row.get::<String, _>("id"));
        if !corrupt.is_empty() {
            let json = serde_json::to_string(&corrupt).map_err(engine_error)?;
            let aside =
                "UPDATE scheduled SET due_at = ?2, tag = NULL WHERE id IN (SELECT value FROM json_each(?1))";
            self.execute(sqlx::query(aside).bind(json).bind(row::SET_ASIDE)).await?;
        }
        Ok(jobs)
    }

    async fn backlog(&self, queue: &str, most: u32) -> Result<Backlog, EngineError> {
        let row = sqlx::query(BACKLOG).bind(queue).bind(most).fetch_one(self.database.readers()).await;
        let row = row.map_err(engine_error)?;
        let jobs = u64::try_from(row.get::<i64, _>(0)).unwrap_or(0);
        Ok(Backlog { jobs, oldest: row.get::<Option<i64>, _>(1).map(time) })
    }

    async fn waiting_keys(&self, queue: &str, most: u32) -> Result<Vec<FairKey>, EngineError> {
        let readers = self.database.readers();
        let weights = sqlx::query_as(WEIGHTS).bind(queue).fetch_all(readers).await;
        let weights: Vec<(String, i64)> = weights.map_err(engine_error)?;
        let weights: HashMap<String, i64> = weights.into_iter().collect();
        let counts = sqlx::query_as(WAITING_KEYS).bind(queue).bind(FAIR_COUNTED_MAX).bind(most);
        let counts: Vec<(String, i64)> = counts.fetch_all(readers).await.map_err(engine_error)?;
        Ok(with_weights(counts, &weights))
    }
}

/// Parameters of a claim.
struct FairClaim {
    queue: String,
    priority: i64,
    now: i64,
    until: i64,
    limit: u32,
    claim: i64,
}

impl FairClaim {
    /// Claims rows, moves the clock of the queue to the last of them, or one unit further when no other is left, so
    /// that all keys begin equal.
    async fn run(self, c: &mut SqliteConnection) -> Result<Vec<SqliteRow>, SqliteFault> {
        let claim = sqlx::query(CLAIM_NEXT).bind(self.now).bind(self.until).bind(self.claim);
        let claim = claim.bind(&self.queue).bind(self.priority).bind(self.limit);
        let rows = claim.fetch_all(&mut *c).await?;
        let Some(last) = rows.iter().filter_map(|row| row.get::<Option<i64>, _>("tag")).max() else {
            return Ok(rows);
        };
        let is_all = u64::from(self.limit) > rows.len() as u64;
        let clock = if is_all { last.saturating_add(FAIR_UNIT) } else { last };
        sqlx::query(MOVE_QUEUE).bind(&self.queue).bind(self.priority).bind(clock).execute(&mut *c).await?;
        let forget = sqlx::query(FORGET_BEHIND).bind(&self.queue).bind(self.priority).bind(BEHIND_MAX);
        forget.execute(c).await?;
        Ok(rows)
    }
}
