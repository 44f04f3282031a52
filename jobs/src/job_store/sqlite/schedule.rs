//! Scheduled jobs and unique keys.

use std::collections::HashMap;

use base::Timestamp;
use serde::Serialize;
use sqlx::{Row, SqliteConnection};

use super::{JobStoreFault, SqliteJobStore, ids_json, row};
use crate::{
    engine::{EngineError, JobFilter},
    envelope::JobId,
    job_store::{LIST_MAX, ScheduledJob, ceil_ms},
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

fn new_row(job: ScheduledJob) -> Result<NewRow, JobStoreFault> {
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

/// A random claim id.
fn draw_claim(store: &SqliteJobStore) -> i64 {
    let mut bytes = [0; 8];
    store.ambient.fill(&mut bytes);
    i64::from_le_bytes(bytes) | 1
}

impl SqliteJobStore {
    pub(super) async fn insert(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        let rows = jobs.into_iter().map(new_row).collect::<Result<Vec<_>, _>>()?;
        let json = serde_json::to_string(&rows).map_err(JobStoreFault::from)?;
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

    pub(super) async fn claim_due_jobs(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        let pick = "due_at <= ?1 AND claimed_until <= ?1 ORDER BY due_at LIMIT ?4";
        self.claim_where(pick, now, until, limit, String::new()).await
    }

    pub(super) async fn claim_one(
        &self,
        id: JobId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ScheduledJob>, EngineError> {
        let pick = "id = ?5 AND claimed_until <= ?1 LIMIT ?4";
        Ok(self.claim_where(pick, now, until, 1, id.to_string()).await?.pop())
    }

    async fn claim_where(
        &self,
        pick: &'static str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        id: String,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        let claim = draw_claim(self);
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

    pub(super) async fn delete_claimed(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError> {
        let pairs: Vec<(String, i64)> = claims.iter().map(|(id, claim)| (id.to_string(), *claim)).collect();
        let json = serde_json::to_string(&pairs).map_err(JobStoreFault::from)?;
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

    pub(super) async fn list(&self, filter: &JobFilter) -> Result<Vec<ScheduledJob>, EngineError> {
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
            .map_err(JobStoreFault::Sql)?;
        Ok(rows.iter().filter_map(row::scheduled).collect())
    }

    pub(super) async fn one(&self, id: JobId) -> Result<Option<ScheduledJob>, EngineError> {
        let sql = format!("SELECT {} FROM scheduled WHERE id = ?1", row::COLUMNS);
        let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string());
        let found = found.fetch_optional(self.database.readers()).await.map_err(JobStoreFault::Sql)?;
        Ok(found.as_ref().and_then(row::scheduled))
    }

    pub(super) async fn reserve_keys(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        let now = now.as_millisecond();
        self.write(move |c| {
            Box::pin(async move {
                let mut holders = HashMap::new();
                for (key, queue, id) in &keys {
                    if let Some(other) = reserve(c, key, queue, *id, now).await? {
                        holders.insert((key.clone(), *id), other);
                    }
                }
                Ok(keys.into_iter().map(|(key, _, id)| holders.get(&(key, id)).copied()).collect())
            })
        })
        .await
    }

    pub(super) async fn release_keys(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let json = ids_json(ids);
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("DELETE FROM unique_keys WHERE job IN (SELECT value FROM json_each(?1))")
                    .bind(json)
                    .execute(c)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    pub(super) async fn purge_queue(&self, queue: &str) -> Result<u64, EngineError> {
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
}

/// Reserves the key, or returns the other job that holds it.
async fn reserve(
    c: &mut SqliteConnection,
    key: &str,
    queue: &str,
    id: JobId,
    now: i64,
) -> Result<Option<JobId>, JobStoreFault> {
    let taken = sqlx::query(
        "INSERT INTO unique_keys (key, job, queue, reserved_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    );
    let id_text = id.to_string();
    if taken.bind(key).bind(&id_text).bind(queue).bind(now).execute(&mut *c).await?.rows_affected() == 1 {
        return Ok(None);
    }
    let holder = sqlx::query("SELECT job FROM unique_keys WHERE key = ?1").bind(key).fetch_one(c).await?;
    let holder: String = holder.get("job");
    Ok(holder.parse().ok().filter(|&other| other != id))
}
