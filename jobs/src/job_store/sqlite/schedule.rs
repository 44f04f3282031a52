//! Scheduled jobs and the claims under which they are published.

use async_trait::async_trait;
use base::{Timestamp, sqlite::Query, time::ceil_ms};
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteJobStore,
    control::raise_version,
    engine_error, ids_json,
    keys::release,
    order::{PURGE_ORDER, pass_on},
};
use crate::{
    engine::{EngineError, JobFilter, LIST_MAX},
    envelope::JobId,
    job_store::{
        CANCELS_MAX, ScheduledJob, ScheduledJobs, draw_claim,
        fair::wants_fair,
        row::{self, columns, counted},
        too_many_cancels,
    },
    sqlite::fault::SqliteFault,
};

/// Of two copies of a job the envelope with more attempts used stays. The rest is replaced in any case, the claim above
/// all: under it the row would be deleted when the job was published before.
const SCHEDULE: &str = "
    INSERT INTO scheduled (id, queue, kind, due_at, envelope, crashes, last_error, first_failed_at)
    SELECT value->>'id', value->>'queue', value->>'kind', value->>'due_at',
      value->>'envelope', value->>'crashes', value->>'last_error', value->>'first_failed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (id) DO UPDATE SET queue = excluded.queue, kind = excluded.kind, due_at = excluded.due_at,
      envelope = iif(iif(json_valid(envelope), envelope->>'attempt', 0) > excluded.envelope->>'attempt',
        envelope, excluded.envelope), crashes = excluded.crashes, last_error = excluded.last_error,
      first_failed_at = excluded.first_failed_at, priority = NULL, tag = NULL, claim = 0, claimed_until = 0";

const CLAIM_DUE: &str = concat!(
    "UPDATE scheduled SET claim = ?3, claimed_until = ?2
     WHERE rowid IN (
       SELECT rowid FROM scheduled
       WHERE due_at <= ?1 AND claimed_until <= ?1 AND tag IS NULL AND order_position IS NULL
       ORDER BY due_at LIMIT ?4)
     RETURNING ",
    columns!()
);

const CLAIM_ONE: &str = concat!(
    "UPDATE scheduled SET claim = ?3, claimed_until = ?2 WHERE id = ?4 AND claimed_until <= ?1 RETURNING ",
    columns!()
);

const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM scheduled WHERE (?1 IS NULL OR queue = ?1) AND (?2 IS NULL OR kind = ?2) AND id > ?3
       AND (?5 IS NULL OR (tag IS NOT NULL) = ?5)
     ORDER BY id LIMIT ?4"
);

const FIND: &str = concat!("SELECT ", columns!(), " FROM scheduled WHERE id = ?1");

const COUNT: &str = "
    SELECT count(*) FROM (SELECT 1 FROM scheduled WHERE queue = ?1 AND tag IS NULL LIMIT ?2) AS counted";

/// Leaves the rest of a period.
const PURGE_PERIODS: &str = "UPDATE unique_keys SET held_as = 'period', expires_at = period_end
    WHERE queue = ?1 AND reserved_at < ?2 AND held_as = 'active' AND period_end IS NOT NULL
      AND job NOT IN (SELECT value FROM json_each(?3))";

const PURGE_KEYS: &str = "DELETE FROM unique_keys
    WHERE queue = ?1 AND reserved_at < ?2 AND held_as = 'active' AND period_end IS NULL
      AND job NOT IN (SELECT value FROM json_each(?3))";

/// A job as the INSERT statement reads it.
fn new_row(job: &ScheduledJob) -> serde_json::Result<Value> {
    Ok(json!({
        "id": job.envelope.id,
        "queue": job.envelope.queue,
        "kind": job.envelope.kind,
        "due_at": ceil_ms(job.due_at),
        "envelope": serde_json::to_string(&job.envelope)?,
        "crashes": job.crashes,
        "last_error": job.last_error,
        "first_failed_at": job.first_failed_at.map(Timestamp::as_millisecond),
    }))
}

fn scheduled(row: &SqliteRow) -> Option<ScheduledJob> {
    row::scheduled(row).ok()
}

#[async_trait]
impl ScheduledJobs for SqliteJobStore {
    async fn schedule(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        let rows = jobs.iter().map(new_row).collect::<Result<Value, _>>().map_err(engine_error)?;
        self.execute(sqlx::query(SCHEDULE).bind(rows.to_string())).await
    }

    async fn claim_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        let claim = sqlx::query(CLAIM_DUE).bind(now.as_millisecond()).bind(until.as_millisecond());
        let rows = self.claimed(claim.bind(draw_claim(&self.ambient)).bind(limit)).await?;
        let (jobs, corrupt) = row::claimed(&rows, |row| row.get::<String, _>("id"));
        if !corrupt.is_empty() {
            let json = serde_json::to_string(&corrupt).map_err(engine_error)?;
            let aside = "UPDATE scheduled SET due_at = ?2 WHERE id IN (SELECT value FROM json_each(?1))";
            self.execute(sqlx::query(aside).bind(json).bind(row::SET_ASIDE)).await?;
        }
        Ok(jobs)
    }

    async fn claim(
        &self,
        id: JobId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ScheduledJob>, EngineError> {
        let claim = sqlx::query(CLAIM_ONE).bind(now.as_millisecond()).bind(until.as_millisecond());
        let rows = self.claimed(claim.bind(draw_claim(&self.ambient)).bind(id.to_string())).await?;
        Ok(rows.first().and_then(scheduled))
    }

    async fn unschedule(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError> {
        let pairs: Vec<(String, i64)> = claims.iter().map(|(id, claim)| (id.to_string(), *claim)).collect();
        let json = serde_json::to_string(&pairs).map_err(engine_error)?;
        let delete = sqlx::query(
            "DELETE FROM scheduled WHERE (id, claim) IN (SELECT value->>0, value->>1 FROM json_each(?1))",
        );
        self.execute(delete.bind(json)).await
    }

    async fn scheduled(&self, filter: &JobFilter) -> Result<Vec<ScheduledJob>, EngineError> {
        let rows = sqlx::query(LIST)
            .bind(&filter.queue)
            .bind(&filter.kind)
            .bind(filter.after.map(|id| id.to_string()).unwrap_or_default())
            .bind(filter.limit.min(LIST_MAX))
            .bind(wants_fair(filter))
            .fetch_all(self.database.readers())
            .await
            .map_err(engine_error)?;
        Ok(rows.iter().filter_map(scheduled).collect())
    }

    async fn find(&self, id: JobId) -> Result<Option<ScheduledJob>, EngineError> {
        let found = sqlx::query(FIND).bind(id.to_string());
        let found = found.fetch_optional(self.database.readers()).await.map_err(engine_error)?;
        Ok(found.as_ref().and_then(scheduled))
    }

    async fn scheduled_count(&self, queue: &str, most: u64) -> Result<u64, EngineError> {
        let count = sqlx::query_scalar::<_, i64>(COUNT).bind(queue).bind(counted(most));
        let count = count.fetch_one(self.database.readers()).await.map_err(engine_error)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn purge(&self, queue: &str, before: Timestamp, running: &[JobId]) -> Result<u64, EngineError> {
        let (queue, before, running) = (queue.to_owned(), before.as_millisecond(), ids_json(running));
        self.write(move |c| {
            Box::pin(async move {
                let order = sqlx::query(PURGE_ORDER).bind(&queue).bind(before).bind(&running);
                order.execute(&mut *c).await?;
                let jobs = sqlx::query("DELETE FROM scheduled WHERE queue = ?1").bind(&queue);
                let jobs = jobs.execute(&mut *c).await?.rows_affected();
                for statement in [PURGE_PERIODS, PURGE_KEYS] {
                    let keys = sqlx::query(statement).bind(&queue).bind(before).bind(&running);
                    keys.execute(&mut *c).await?;
                }
                Ok(jobs)
            })
        })
        .await
    }

    async fn cancel(&self, id: JobId, reason: &str, now: Timestamp) -> Result<bool, EngineError> {
        let (id, reason, now) = (id.to_string(), reason.to_owned(), now.as_millisecond());
        let removed = self.write(move |c| Box::pin(cancel(c, id, reason, now))).await?;
        removed.ok_or_else(too_many_cancels)
    }
}

impl SqliteJobStore {
    /// Runs a claim; returns the rows claimed.
    async fn claimed(&self, claim: Query<'static>) -> Result<Vec<SqliteRow>, EngineError> {
        self.write(move |c| Box::pin(async move { Ok(claim.fetch_all(c).await?) })).await
    }
}

/// A job that is being published has a live claim: it gets a cancel request, which its consumer carries out. `None`
/// when there are too many.
async fn cancel(
    c: &mut SqliteConnection,
    id: String,
    reason: String,
    now: i64,
) -> Result<Option<bool>, SqliteFault> {
    let removed = sqlx::query("DELETE FROM scheduled WHERE id = ?1 AND claimed_until <= ?2");
    if removed.bind(&id).bind(now).execute(&mut *c).await?.rows_affected() > 0 {
        let ids = Value::from([id.as_str()].as_slice()).to_string();
        release(c, &ids, true).await?;
        pass_on(c, &ids, now).await?;
        return Ok(Some(true));
    }
    let others = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM cancel_requests WHERE job <> ?1");
    if others.bind(&id).fetch_one(&mut *c).await? >= i64::from(CANCELS_MAX) {
        return Ok(None);
    }
    sqlx::query("INSERT OR REPLACE INTO cancel_requests (job, reason, requested_at) VALUES (?1, ?2, ?3)")
        .bind(&id)
        .bind(reason)
        .bind(now)
        .execute(&mut *c)
        .await?;
    raise_version(c).await?;
    Ok(Some(false))
}
