//! The backlog of fair queues.
//!
//! The row of a key in `jobs.fair_keys` is its lock: while one process holds jobs of a key, another one that does
//! waits. The clock of the queue is read without a lock; that of an instant ago gives a newcomer a turn hardly earlier.

use std::collections::HashMap;

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid, time::ceil_ms};
use sqlx::Row;

use super::{PostgresJobStore, engine_error};
use crate::{
    engine::{EngineError, FAIR_COUNTED_MAX, FAIR_UNIT, FairKey, Weights, with_weights},
    envelope::JobId,
    job::Priority,
    job_store::{
        Backlog, FairBacklog, FairQueue, ScheduledJob, draw_claim,
        fair::{BEHIND_MAX, distinct, key_of},
        row::{self, columns, time},
    },
    postgres::{column, text},
};

const SET_WEIGHTS: &str = "
    INSERT INTO jobs.fair_weights (queue, key, weight) SELECT $1::text, * FROM unnest($2::text[], $3::bigint[])";

const QUEUES: &str = "
    SELECT name,
      EXISTS (SELECT 1 FROM jobs.scheduled WHERE queue = q.name AND priority = 0 AND tag IS NOT NULL) AS critical,
      EXISTS (SELECT 1 FROM jobs.scheduled WHERE queue = q.name AND priority = 1 AND tag IS NOT NULL) AS usual,
      EXISTS (SELECT 1 FROM jobs.scheduled WHERE queue = q.name AND priority = 2 AND tag IS NOT NULL) AS bulk
    FROM jobs.queues AS q WHERE fair ORDER BY name COLLATE \"C\"";

/// Moves the clock of each key on by its jobs, from that of the queue at least. In the order of the keys, so that
/// processes lock them in one order.
const MOVE_KEYS: &str = "
    INSERT INTO jobs.fair_keys AS k (queue, priority, key, next_tag, step)
    SELECT s.queue, s.priority, s.key, coalesce(t.tag, 0) + s.step, s.step
    FROM (
      SELECT n.queue, n.priority, n.key, count(*) * ($4::bigint / coalesce(min(w.weight), 1)) AS step
      FROM unnest($1::text[], $2::bigint[], $3::text[]) AS n (queue, priority, key)
      LEFT JOIN jobs.fair_weights AS w ON w.queue = n.queue AND w.key = n.key
      GROUP BY n.queue, n.priority, n.key) AS s
    LEFT JOIN jobs.fair_times AS t ON t.queue = s.queue AND t.priority = s.priority
    ORDER BY s.queue, s.priority, s.key
    ON CONFLICT (queue, priority, key) DO UPDATE SET
      next_tag = greatest(k.next_tag + EXCLUDED.step, EXCLUDED.next_tag), step = EXCLUDED.step";

// The tags of a key's jobs are the times that its clock has just passed. The rest as for a scheduled job.
const HOLD: &str = r#"
    INSERT INTO jobs.scheduled AS held (id, queue, kind, due_at, envelope, crashes, last_error, first_failed_at,
      priority, tag)
    SELECT n.id, n.queue, n.kind, n.due_at, n.envelope, n.crashes, n.last_error, n.first_failed_at, n.priority,
      k.next_tag - k.step
        + (row_number() OVER (PARTITION BY n.queue, n.priority, n.key ORDER BY n.position) - 1)
          * (k.step / count(*) OVER (PARTITION BY n.queue, n.priority, n.key))
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::bigint[],
      $9::bigint[], $10::text[])
      WITH ORDINALITY AS n (id, queue, kind, due_at, envelope, crashes, last_error, first_failed_at, priority, key,
        position)
    JOIN jobs.fair_keys AS k ON k.queue = n.queue AND k.priority = n.priority AND k.key = n.key
    ON CONFLICT (id) DO UPDATE SET queue = EXCLUDED.queue, kind = EXCLUDED.kind, due_at = EXCLUDED.due_at,
      envelope = CASE
        WHEN substring(held.envelope FROM '"attempt":([0-9]+)')::bigint
          > substring(EXCLUDED.envelope FROM '"attempt":([0-9]+)')::bigint
        THEN held.envelope ELSE EXCLUDED.envelope END,
      crashes = EXCLUDED.crashes, last_error = EXCLUDED.last_error, first_failed_at = EXCLUDED.first_failed_at,
      priority = EXCLUDED.priority, tag = EXCLUDED.tag, claim = 0, claimed_until = 0"#;

pub(super) const CLAIM_NEXT: &str = concat!(
    "UPDATE jobs.scheduled SET claim = $3, claimed_until = $2
     WHERE id = ANY(ARRAY(
       SELECT id FROM jobs.scheduled WHERE queue = $4 AND priority = $5 AND tag IS NOT NULL AND claimed_until <= $1
       ORDER BY tag, id LIMIT $6 FOR UPDATE SKIP LOCKED))
     RETURNING ",
    columns!()
);

const MOVE_QUEUE: &str = "
    INSERT INTO jobs.fair_times AS t (queue, priority, tag) VALUES ($1, $2, $3)
    ON CONFLICT (queue, priority) DO UPDATE SET tag = greatest(t.tag, EXCLUDED.tag)";

/// A key that is being moved on is left alone.
pub(super) const FORGET_BEHIND: &str = "
    DELETE FROM jobs.fair_keys AS k USING (
      SELECT key FROM jobs.fair_keys WHERE queue = $1 AND priority = $2 AND next_tag <= $3
      LIMIT $4 FOR UPDATE SKIP LOCKED) AS behind
    WHERE k.queue = $1 AND k.priority = $2 AND k.key = behind.key";

/// Jobs of a priority that have the first turns.
macro_rules! first {
    ($priority:literal) => {
        concat!(
            "(SELECT due_at FROM jobs.scheduled WHERE queue = $1 AND priority = ",
            $priority,
            " AND tag IS NOT NULL ORDER BY tag, id LIMIT $2)"
        )
    };
}

pub(super) const BACKLOG: &str = concat!(
    "SELECT count(*), min(due_at) FROM (",
    first!(0),
    " UNION ALL ",
    first!(1),
    " UNION ALL ",
    first!(2),
    ") AS first"
);

/// Of each job the key as its envelope has it, escaped as in JSON; the payload, which may have a field of that name, is
/// the last field. An envelope that is damaged counts as one without a key rather than failing the statement. `top`
/// asks every few seconds, so a regular expression is left to the envelopes that have an escape.
pub(super) const WAITING_KEYS: &str = r#"
    SELECT CASE
        WHEN strpos(head, '\') = 0 THEN split_part(split_part(head, '"fair_key":"', 2), '"', 1)
        ELSE coalesce(substring(head FROM '"fair_key":"((?:[^"\\]|\\.)*)"'), '') END AS key,
      count(*) AS waiting
    FROM (
      SELECT split_part(envelope, ',"payload":', 1) AS head FROM jobs.scheduled
      WHERE queue = $1 AND tag IS NOT NULL ORDER BY priority, tag LIMIT $2) AS first
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $3"#;

/// A key without the escapes of JSON.
fn unescaped(key: String) -> String {
    serde_json::from_str(&format!("\"{key}\"")).unwrap_or(key)
}

#[async_trait]
impl FairBacklog for PostgresJobStore {
    async fn set_fair(&self, queue: &str, weights: &Weights) -> Result<(), EngineError> {
        let (keys, weights): (Vec<String>, Vec<i64>) =
            weights.named().map(|(key, weight)| (key.to_owned(), i64::from(weight))).unzip();
        self.run(async || {
            let mut tx = self.database.begin().await?;
            // Its row lock makes processes that set weights at the same moment wait for each other.
            let fair = self.database.query("UPDATE jobs.queues SET fair = true WHERE name = $1").bind(queue);
            fair.execute(&mut *tx).await?;
            let clear = self.database.query("DELETE FROM jobs.fair_weights WHERE queue = $1").bind(queue);
            clear.execute(&mut *tx).await?;
            let set = self.database.query(SET_WEIGHTS).bind(queue).bind(&keys).bind(&weights);
            set.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn fair_queues(&self) -> Result<Vec<FairQueue>, EngineError> {
        let rows = self.rows(|| sqlx::query(QUEUES)).await?;
        Ok(rows.iter().map(row::fair_queue).collect())
    }

    async fn hold(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        let jobs = distinct(jobs);
        let owned = |value: &str| text(value).into_owned();
        let envelopes = jobs.iter().map(|job| serde_json::to_string(&job.envelope));
        let envelopes: Vec<String> = envelopes.collect::<Result<_, _>>().map_err(engine_error)?;
        let queues = column(&jobs, |job| owned(&job.envelope.queue));
        let priorities = column(&jobs, |job| i64::from(job.envelope.priority as u8));
        let keys = column(&jobs, |job| owned(key_of(job)));
        self.run(async || {
            let mut tx = self.database.begin().await?;
            let clocks = self.database.query(MOVE_KEYS).bind(&queues).bind(&priorities).bind(&keys);
            clocks.bind(FAIR_UNIT).execute(&mut *tx).await?;
            let hold = self.database.query(HOLD).bind(column(&jobs, |job| job.envelope.id.0)).bind(&queues);
            let hold = hold.bind(column(&jobs, |job| owned(&job.envelope.kind)));
            let hold = hold.bind(column(&jobs, |job| ceil_ms(job.due_at))).bind(&envelopes);
            let hold = hold.bind(column(&jobs, |job| i64::from(job.crashes)));
            let hold = hold.bind(column(&jobs, |job| job.last_error.as_deref().map(owned)));
            let hold = hold.bind(column(&jobs, |job| job.first_failed_at.map(Timestamp::as_millisecond)));
            hold.bind(&priorities).bind(&keys).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Moves the clock of the queue to the last job claimed, or one unit further when no other is left, so that all
    /// keys begin equal.
    async fn claim_next(
        &self,
        queue: &str,
        priority: Priority,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        let priority = i64::from(priority as u8);
        let claim = self.run(async || {
            let mut tx = self.database.begin().await?;
            let claim =
                self.database.query(CLAIM_NEXT).bind(now.as_millisecond()).bind(until.as_millisecond());
            let claim = claim.bind(draw_claim(&self.ambient)).bind(queue).bind(priority);
            let rows = claim.bind(i64::from(limit)).fetch_all(&mut *tx).await?;
            if let Some(last) = rows.iter().filter_map(|row| row.get::<Option<i64>, _>("tag")).max() {
                let is_all = u64::from(limit) > rows.len() as u64;
                let clock = if is_all { last.saturating_add(FAIR_UNIT) } else { last };
                let time = self.database.query(MOVE_QUEUE).bind(queue).bind(priority).bind(clock);
                time.execute(&mut *tx).await?;
                let forget = self.database.query(FORGET_BEHIND).bind(queue).bind(priority).bind(clock);
                forget.bind(BEHIND_MAX).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(rows)
        });
        let mut rows = claim.await?;
        rows.sort_by_key(|row| (row.get::<Option<i64>, _>("tag"), row.get::<Uuid, _>("id")));
        let (jobs, corrupt) = row::readable(&rows, |row| JobId(row.get("id")));
        if !corrupt.is_empty() {
            let corrupt: Vec<Uuid> = corrupt.iter().map(|id| id.0).collect();
            let aside = "UPDATE jobs.scheduled SET due_at = $2, tag = NULL WHERE id = ANY($1)";
            self.execute(|| sqlx::query(aside).bind(&corrupt).bind(row::SET_ASIDE)).await?;
        }
        Ok(jobs)
    }

    async fn backlog(&self, queue: &str, most: u32) -> Result<Backlog, EngineError> {
        let rows = self.rows(|| sqlx::query(BACKLOG).bind(queue).bind(i64::from(most))).await?;
        let Some(row) = rows.first() else { return Ok(Backlog::default()) };
        let jobs = u64::try_from(row.get::<i64, _>(0)).unwrap_or(0);
        Ok(Backlog { jobs, oldest: row.get::<Option<i64>, _>(1).map(time) })
    }

    async fn waiting_keys(&self, queue: &str, most: u32) -> Result<Vec<FairKey>, EngineError> {
        let weights = "SELECT key, weight FROM jobs.fair_weights WHERE queue = $1";
        let weights = self.rows(|| sqlx::query(weights).bind(queue)).await?;
        let weights: HashMap<String, i64> =
            weights.iter().map(|row| (row.get("key"), row.get("weight"))).collect();
        let (counted, most) = (i64::from(FAIR_COUNTED_MAX), i64::from(most));
        let counts = self.rows(|| sqlx::query(WAITING_KEYS).bind(queue).bind(counted).bind(most)).await?;
        let counts: Vec<(String, i64)> =
            counts.iter().map(|row| (unescaped(row.get("key")), row.get("waiting"))).collect();
        Ok(with_weights(counts, &weights))
    }
}
