//! Order keys: the heads of keys, and the jobs behind them.

use async_trait::async_trait;
use base::{Timestamp, time::ceil_ms};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteJobStore, engine_error, ids_json};
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{OrderKeys, ScheduledJob, fair::distinct, order::order_key_of},
    sqlite::fault::SqliteFault,
};

/// The position that a job has or had.
const POSITION: &str = "SELECT coalesce(
    (SELECT order_position FROM scheduled WHERE id = ?1),
    (SELECT order_position FROM order_keys WHERE job = ?1 LIMIT 1),
    (SELECT order_position FROM dead_jobs WHERE id = ?1))";

const NEXT_POSITION: &str = "UPDATE order_positions SET last = last + 1 RETURNING last";

const IS_HEAD: &str = "SELECT EXISTS (SELECT 1 FROM order_keys WHERE job = ?1)";

const TAKE_KEY: &str = "INSERT INTO order_keys (queue, key, job, order_position, taken_at)
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";

const LINE_UP: &str =
    "INSERT INTO scheduled (id, queue, kind, due_at, envelope, crashes, last_error, first_failed_at,
      order_key, order_position)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";

const HELD: &str = "SELECT queue, key FROM order_keys WHERE job IN (SELECT value FROM json_each(?1))";

const NEXT: &str = "UPDATE order_keys SET job = n.id, order_position = n.order_position, taken_at = ?3
    FROM (SELECT id, order_position FROM scheduled
          WHERE queue = ?1 AND order_key = ?2 AND order_position IS NOT NULL ORDER BY order_position LIMIT 1) AS n
    WHERE queue = ?1 AND key = ?2 RETURNING job";

const START: &str = "UPDATE scheduled SET order_key = NULL, order_position = NULL WHERE id = ?1";

const HEADS_OF: &str = "SELECT s.id, k.job FROM scheduled AS s
    JOIN order_keys AS k ON k.queue = s.queue AND k.key = s.order_key
    WHERE s.id IN (SELECT value FROM json_each(?1)) AND s.order_position IS NOT NULL";

/// Before the jobs are deleted.
pub(super) const PURGE_ORDER: &str = "DELETE FROM order_keys WHERE queue = ?1
    AND ((taken_at < ?2 AND job NOT IN (SELECT value FROM json_each(?3)))
      OR EXISTS (SELECT 1 FROM scheduled WHERE id = order_keys.job))";

#[async_trait]
impl OrderKeys for SqliteJobStore {
    async fn line_up(&self, jobs: Vec<ScheduledJob>, now: Timestamp) -> Result<(), EngineError> {
        let (jobs, now) = (distinct(jobs), now.as_millisecond());
        self.write(move |c| {
            Box::pin(async move {
                let mut lined = Vec::with_capacity(jobs.len());
                for job in jobs {
                    let id = job.envelope.id.to_string();
                    if !sqlx::query_scalar::<_, bool>(IS_HEAD).bind(&id).fetch_one(&mut *c).await? {
                        lined.push((position(c, &id).await?, job));
                    }
                }
                lined.sort_by_key(|(position, _)| *position);
                for (position, job) in lined {
                    enter(c, &job, position, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn take_key(
        &self,
        queue: &str,
        key: &str,
        job: JobId,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let head =
            sqlx::query_scalar::<_, String>("SELECT job FROM order_keys WHERE queue = ?1 AND key = ?2");
        let head = head.bind(queue).bind(key).fetch_optional(self.database.readers()).await;
        if let Some(head) = head.map_err(engine_error)? {
            return Ok(head == job.to_string());
        }
        let (queue, key) = (queue.to_owned(), key.to_owned());
        let (id, now) = (job.to_string(), now.as_millisecond());
        self.write(move |c| Box::pin(async move { take(c, (queue.as_str(), key.as_str()), &id, now).await }))
            .await
    }

    async fn pass_on(&self, ids: &[JobId], now: Timestamp) -> Result<(), EngineError> {
        let (ids, now) = (ids_json(ids), now.as_millisecond());
        self.write(move |c| Box::pin(async move { pass_on(c, &ids, now).await })).await
    }

    async fn change_line(&self, job: ScheduledJob, now: Timestamp) -> Result<bool, EngineError> {
        let now = now.as_millisecond();
        self.write(move |c| {
            Box::pin(async move {
                let id = job.envelope.id.to_string();
                let position = position(c, &id).await?;
                let leave = sqlx::query("DELETE FROM scheduled WHERE id = ?1 AND claim = ?2");
                let left = leave.bind(&id).bind(job.claim).execute(&mut *c).await?;
                if left.rows_affected() == 0 {
                    return Ok(false);
                }
                pass_on(c, &ids_json(&[job.envelope.id]), now).await?;
                enter(c, &job, position, now).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn heads_of(&self, ids: &[JobId]) -> Result<Vec<(JobId, JobId)>, EngineError> {
        let rows = sqlx::query(HEADS_OF).bind(ids_json(ids)).fetch_all(self.database.readers()).await;
        let rows = rows.map_err(engine_error)?;
        let id =
            |row: &SqliteRow, column: &str| -> Option<JobId> { row.get::<String, _>(column).parse().ok() };
        Ok(rows.iter().filter_map(|row| Some((id(row, "id")?, id(row, "job")?))).collect())
    }
}

/// Makes the next job of each key the head that one of these jobs (a JSON array) has held, or frees the key.
pub(super) async fn pass_on(c: &mut SqliteConnection, ids: &str, now: i64) -> Result<(), SqliteFault> {
    let held = sqlx::query(HELD).bind(ids).fetch_all(&mut *c).await?;
    for held in &held {
        let (queue, key): (String, String) = (held.get("queue"), held.get("key"));
        let next = sqlx::query_scalar::<_, String>(NEXT).bind(&queue).bind(&key).bind(now);
        let next = next.fetch_optional(&mut *c).await?;
        let step = match next {
            Some(id) => sqlx::query(START).bind(id),
            None => {
                sqlx::query("DELETE FROM order_keys WHERE queue = ?1 AND key = ?2").bind(&queue).bind(&key)
            }
        };
        step.execute(&mut *c).await?;
    }
    Ok(())
}

/// The position that a job has or had, or the next one.
async fn position(c: &mut SqliteConnection, id: &str) -> Result<i64, SqliteFault> {
    let known: Option<i64> = sqlx::query_scalar(POSITION).bind(id).fetch_one(&mut *c).await?;
    match known {
        Some(position) => Ok(position),
        None => Ok(sqlx::query_scalar(NEXT_POSITION).fetch_one(c).await?),
    }
}

/// Takes a key that may have no head; returns whether the job is its head.
async fn take(
    c: &mut SqliteConnection,
    (queue, key): (&str, &str),
    id: &str,
    now: i64,
) -> Result<bool, SqliteFault> {
    let position = position(c, id).await?;
    let take = sqlx::query(TAKE_KEY).bind(queue).bind(key).bind(id).bind(position).bind(now);
    take.execute(&mut *c).await?;
    Ok(sqlx::query_scalar(IS_HEAD).bind(id).fetch_one(c).await?)
}

/// Stores a job as the head of its key if that is free, or behind it.
async fn enter(
    c: &mut SqliteConnection,
    job: &ScheduledJob,
    position: i64,
    now: i64,
) -> Result<(), SqliteFault> {
    let (envelope, key) = (&job.envelope, order_key_of(job));
    let id = envelope.id.to_string();
    let take = sqlx::query(TAKE_KEY).bind(&envelope.queue).bind(key).bind(&id).bind(position).bind(now);
    let is_behind = take.execute(&mut *c).await?.rows_affected() == 0;
    let add = sqlx::query(LINE_UP)
        .bind(&id)
        .bind(&envelope.queue)
        .bind(&envelope.kind)
        .bind(ceil_ms(job.due_at))
        .bind(serde_json::to_string(envelope)?)
        .bind(i64::from(job.crashes))
        .bind(&job.last_error)
        .bind(job.first_failed_at.map(Timestamp::as_millisecond))
        .bind(is_behind.then_some(key))
        .bind(is_behind.then_some(position));
    add.execute(c).await?;
    Ok(())
}
