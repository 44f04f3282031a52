//! Dead jobs and the claims under which they are published again.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};

use super::{
    SqliteJobStore, engine_error, ids_json,
    keys::{release, release_dead},
    order::pass_on,
};
use crate::{
    engine::{DROP_MAX, DeadFilter, EngineError, JobFilter, LIST_MAX, page::read_page},
    envelope::JobId,
    job_store::{
        DeadJob, DeadJobs, DeadPage,
        dead::push_conditions,
        draw_claim,
        row::{self, counted, dead_columns},
    },
};

const ADD: &str =
    "INSERT OR REPLACE INTO dead_jobs (id, queue, kind, reason, died_at, first_failed_at, crashes,
    last_error, envelope, properties, body, order_position)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, coalesce(
    (SELECT order_position FROM order_keys WHERE job = ?1 LIMIT 1),
    (SELECT order_position FROM dead_jobs WHERE id = ?1)))";

const FIND: &str = concat!("SELECT ", dead_columns!(), ", properties, body FROM dead_jobs WHERE id = ?1");

const CLAIM: &str = concat!(
    "UPDATE dead_jobs SET claim = ?3, claimed_until = ?2
     WHERE id IN (SELECT value FROM json_each(?4)) AND claimed_until <= ?1
     RETURNING ",
    dead_columns!(),
    ", properties, body"
);

const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM dead_jobs WHERE queue = ?1 LIMIT ?2) AS counted";

const LIST: &str = concat!("SELECT ", dead_columns!(), " FROM dead_jobs WHERE true");
const IDS: &str = "SELECT id FROM dead_jobs WHERE true";
const NUMBER: &str = "SELECT count(*) FROM dead_jobs WHERE true";
const DROP: &str = "DELETE FROM dead_jobs WHERE rowid IN (SELECT rowid FROM dead_jobs WHERE true";

/// A statement with those conditions of the filter that are set.
fn matching(sql: &'static str, filter: &DeadFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(sql);
    push_conditions(&mut query, filter, str::to_owned);
    if let Some(id) = filter.id {
        query.push(" AND id = ").push_bind(id.to_string());
    }
    if let Some(part) = &filter.error_contains {
        query.push(" AND instr(last_error, ").push_bind(part.clone()).push(") > 0");
    }
    if let Some(after) = filter.after {
        query.push(" AND id > ").push_bind(after.to_string());
    }
    query
}

/// The id of a row; `None` if it is corrupt.
fn id_of(row: &SqliteRow) -> Option<JobId> {
    row.get::<String, _>("id").parse().ok()
}

fn whole(row: &SqliteRow) -> Option<DeadJob> {
    Some(row::dead_whole(row, id_of(row)?))
}

#[async_trait]
impl DeadJobs for SqliteJobStore {
    async fn add_dead(&self, jobs: Vec<DeadJob>) -> Result<(), EngineError> {
        let ids: Vec<JobId> = jobs.iter().map(|job| job.envelope.id).collect();
        let ids = ids_json(&ids);
        let now = self.ambient.now().as_millisecond();
        self.write(move |c| {
            Box::pin(async move {
                for DeadJob { envelope, crashes, last_error, info, message, .. } in jobs {
                    let stored = serde_json::to_string(&envelope)?;
                    let (properties, body) = message.map(|m| (m.properties, m.body)).unzip();
                    let add = sqlx::query(ADD)
                        .bind(envelope.id.to_string())
                        .bind(envelope.queue)
                        .bind(envelope.kind)
                        .bind(info.reason.as_str())
                        .bind(info.died_at.as_millisecond())
                        .bind(info.first_failed_at.as_millisecond())
                        .bind(i64::from(crashes))
                        .bind(last_error)
                        .bind(stored)
                        .bind(properties)
                        .bind(body);
                    add.execute(&mut *c).await?;
                }
                release_dead(c, &ids).await?;
                pass_on(c, &ids, now).await
            })
        })
        .await
    }

    async fn dead_jobs(&self, filter: &JobFilter) -> Result<DeadPage, EngineError> {
        Ok(read_page(filter, |after, limit| self.dead_chunk(filter, after, limit)).await?.into())
    }

    async fn find_dead(&self, id: JobId) -> Result<Option<DeadJob>, EngineError> {
        let found = sqlx::query(FIND).bind(id.to_string()).fetch_optional(self.database.readers()).await;
        Ok(found.map_err(engine_error)?.as_ref().and_then(whole))
    }

    async fn dead_ids(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        let mut select = matching(IDS, filter);
        select.push(" ORDER BY id LIMIT ").push_bind(filter.limit.min(LIST_MAX));
        let rows = select.build().fetch_all(self.database.readers()).await.map_err(engine_error)?;
        Ok(rows.iter().filter_map(id_of).collect())
    }

    async fn claim_dead(
        &self,
        ids: &[JobId],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<DeadJob>, EngineError> {
        let claim = sqlx::query(CLAIM).bind(now.as_millisecond()).bind(until.as_millisecond());
        let claim = claim.bind(draw_claim(&self.ambient)).bind(ids_json(ids));
        let rows = self.write(move |c| Box::pin(async move { Ok(claim.fetch_all(c).await?) })).await?;
        let mut jobs: Vec<DeadJob> = rows.iter().filter_map(whole).collect();
        jobs.sort_by_key(|job| job.envelope.id);
        Ok(jobs)
    }

    async fn remove_dead(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError> {
        let pairs: Vec<(String, i64)> = claims.iter().map(|(id, claim)| (id.to_string(), *claim)).collect();
        let json = serde_json::to_string(&pairs).map_err(engine_error)?;
        let remove = sqlx::query(
            "DELETE FROM dead_jobs WHERE (id, claim) IN (SELECT value->>0, value->>1 FROM json_each(?1))",
        );
        self.execute(remove.bind(json)).await
    }

    async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, EngineError> {
        if filter.dry_run {
            let mut number = matching(NUMBER, filter);
            let row = number.build().fetch_one(self.database.readers()).await.map_err(engine_error)?;
            let count = u64::try_from(row.get::<i64, _>(0)).unwrap_or(0);
            return Ok(count.min(u64::from(filter.limit)));
        }
        let mut delete = matching(DROP, filter);
        delete.push(" ORDER BY died_at LIMIT ").push_bind(filter.limit.min(DROP_MAX)).push(") RETURNING id");
        self.write(move |c| {
            Box::pin(async move {
                let dropped = delete.build().fetch_all(&mut *c).await?;
                let ids: Vec<String> = dropped.iter().map(|row| row.get("id")).collect();
                release(c, &serde_json::Value::from(ids).to_string(), true).await?;
                Ok(dropped.len() as u64)
            })
        })
        .await
    }

    async fn dead_count(&self, queue: &str, most: u64) -> Result<u64, EngineError> {
        let count = sqlx::query_scalar::<_, i64>(COUNT).bind(queue).bind(counted(most));
        let count = count.fetch_one(self.database.readers()).await.map_err(engine_error)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

impl SqliteJobStore {
    async fn dead_chunk(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<DeadJob>, EngineError> {
        let (queue, kind) = (filter.queue.clone(), filter.kind.clone());
        let mut select = matching(LIST, &DeadFilter { queue, kind, after, ..DeadFilter::default() });
        select.push(" ORDER BY id LIMIT ").push_bind(limit);
        let rows = select.build().fetch_all(self.database.readers()).await.map_err(engine_error)?;
        Ok(rows.iter().filter_map(|row| Some(row::dead(row, id_of(row)?))).collect())
    }
}
