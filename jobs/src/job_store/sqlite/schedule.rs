//! Scheduled jobs and the claims under which they are published.

use async_trait::async_trait;
use base::{Timestamp, time::ceil_ms};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::{SqliteJobStore, control::raise_version, engine_error, row};
use crate::{
    engine::{EngineError, JobFilter},
    envelope::JobId,
    job_store::{LIST_MAX, ScheduledJob, ScheduledJobs, draw_claim},
    sqlite::fault::SqliteFault,
};

#[derive(Serialize)]
struct NewRow {
    id: String,
    queue: String,
    kind: String,
    due_at: i64,
    envelope: String,
    crashes: u32,
    last_error: Option<String>,
    first_failed_at: Option<i64>,
}

fn new_row(job: ScheduledJob) -> serde_json::Result<NewRow> {
    Ok(NewRow {
        id: job.envelope.id.to_string(),
        due_at: ceil_ms(job.due_at),
        envelope: serde_json::to_string(&job.envelope)?,
        queue: job.envelope.queue,
        kind: job.envelope.kind,
        crashes: job.crashes,
        last_error: job.last_error,
        first_failed_at: job.first_failed_at.map(Timestamp::as_millisecond),
    })
}

#[async_trait]
impl ScheduledJobs for SqliteJobStore {
    async fn schedule(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        let rows = jobs.into_iter().map(new_row).collect::<Result<Vec<_>, _>>().map_err(engine_error)?;
        let json = serde_json::to_string(&rows).map_err(engine_error)?;
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT OR REPLACE INTO scheduled
                       (id, queue, kind, due_at, envelope, crashes, last_error, first_failed_at)
                     SELECT value->>'id', value->>'queue', value->>'kind', value->>'due_at',
                       value->>'envelope', value->>'crashes', value->>'last_error', value->>'first_failed_at'
                     FROM json_each(?1)",
                )
                .bind(json)
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn claim_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        let pick = "due_at <= ?1 AND claimed_until <= ?1 ORDER BY due_at LIMIT ?4";
        self.claim_where(pick, now, until, limit, String::new()).await
    }

    async fn claim(
        &self,
        id: JobId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ScheduledJob>, EngineError> {
        let pick = "id = ?5 AND claimed_until <= ?1 LIMIT ?4";
        Ok(self.claim_where(pick, now, until, 1, id.to_string()).await?.pop())
    }

    async fn unschedule(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError> {
        let pairs: Vec<(String, i64)> = claims.iter().map(|(id, claim)| (id.to_string(), *claim)).collect();
        let json = serde_json::to_string(&pairs).map_err(engine_error)?;
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "DELETE FROM scheduled WHERE (id, claim) IN (SELECT value->>0, value->>1 FROM json_each(?1))",
                )
                .bind(json)
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn scheduled(&self, filter: &JobFilter) -> Result<Vec<ScheduledJob>, EngineError> {
        let sql = format!(
            "SELECT {} FROM scheduled WHERE (?1 IS NULL OR queue = ?1) AND (?2 IS NULL OR kind = ?2) AND id > ?3
             ORDER BY id LIMIT ?4",
            row::COLUMNS
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&filter.queue)
            .bind(&filter.kind)
            .bind(filter.after.map(|id| id.to_string()).unwrap_or_default())
            .bind(filter.limit.min(LIST_MAX))
            .fetch_all(self.database.readers())
            .await
            .map_err(engine_error)?;
        Ok(rows.iter().filter_map(row::scheduled).collect())
    }

    async fn find(&self, id: JobId) -> Result<Option<ScheduledJob>, EngineError> {
        let sql = format!("SELECT {} FROM scheduled WHERE id = ?1", row::COLUMNS);
        let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string());
        let found = found.fetch_optional(self.database.readers()).await.map_err(engine_error)?;
        Ok(found.as_ref().and_then(row::scheduled))
    }

    async fn scheduled_count(&self, queue: &str) -> Result<u64, EngineError> {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM scheduled WHERE queue = ?1");
        let count = count.bind(queue).fetch_one(self.database.readers()).await.map_err(engine_error)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        let queue = queue.to_owned();
        self.write(move |c| {
            Box::pin(async move {
                let jobs = sqlx::query("DELETE FROM scheduled WHERE queue = ?1").bind(&queue);
                let jobs = jobs.execute(&mut *c).await?.rows_affected();
                sqlx::query("DELETE FROM unique_keys WHERE queue = ?1").bind(&queue).execute(c).await?;
                Ok(jobs)
            })
        })
        .await
    }

    async fn cancel(&self, id: JobId, reason: &str, now: Timestamp) -> Result<bool, EngineError> {
        let (id, reason, now) = (id.to_string(), reason.to_owned(), now.as_millisecond());
        self.write(move |c| Box::pin(cancel(c, id, reason, now))).await
    }
}

impl SqliteJobStore {
    async fn claim_where(
        &self,
        pick: &'static str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        id: String,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        let claim = draw_claim(&self.ambient);
        let sql = format!(
            "UPDATE scheduled SET claim = ?3, claimed_until = ?2
             WHERE rowid IN (SELECT rowid FROM scheduled WHERE {pick}) AND length(?5) >= 0 RETURNING {}",
            row::COLUMNS
        );
        let (now, until) = (now.as_millisecond(), until.as_millisecond());
        let mut jobs = self
            .write(move |c| {
                Box::pin(async move {
                    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                        .bind(now)
                        .bind(until)
                        .bind(claim)
                        .bind(limit)
                        .bind(id)
                        .fetch_all(c)
                        .await?;
                    Ok(rows.iter().filter_map(row::scheduled).collect::<Vec<_>>())
                })
            })
            .await?;
        jobs.sort_by_key(|job| (job.due_at, job.envelope.id));
        Ok(jobs)
    }
}

/// A job that is being published has a live claim: it gets a cancel request, which its consumer carries out.
async fn cancel(c: &mut SqliteConnection, id: String, reason: String, now: i64) -> Result<bool, SqliteFault> {
    let removed = sqlx::query("DELETE FROM scheduled WHERE id = ?1 AND claimed_until <= ?2");
    if removed.bind(&id).bind(now).execute(&mut *c).await?.rows_affected() > 0 {
        sqlx::query("DELETE FROM unique_keys WHERE job = ?1").bind(&id).execute(c).await?;
        return Ok(true);
    }
    sqlx::query("INSERT OR REPLACE INTO cancel_requests (job, reason, requested_at) VALUES (?1, ?2, ?3)")
        .bind(&id)
        .bind(reason)
        .bind(now)
        .execute(&mut *c)
        .await?;
    raise_version(c).await?;
    Ok(false)
}
