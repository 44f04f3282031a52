//! Dead jobs and the claims under which they are published again.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid};
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{PostgresJobStore, engine_error, keys, order::KEEP_POSITIONS, page::push_page};
use crate::{
    engine::{DROP_MAX, DeadFilter, EngineError, JobFilter, LIST_MAX, page::read_page},
    envelope::JobId,
    job_store::{
        DeadJob, DeadJobs, DeadPage,
        dead::push_conditions,
        draw_claim,
        row::{self, counted, dead_columns},
    },
    postgres::{column, text},
};

pub(super) const ADD: &str = "
    INSERT INTO jobs.dead_jobs (id, queue, kind, reason, died_at, first_failed_at, crashes, last_error, envelope,
      properties, body)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
      $8::text[], $9::text[], $10::text[], $11::bytea[])
    ON CONFLICT (id) DO UPDATE SET queue = EXCLUDED.queue, kind = EXCLUDED.kind, reason = EXCLUDED.reason,
      died_at = EXCLUDED.died_at, first_failed_at = EXCLUDED.first_failed_at, crashes = EXCLUDED.crashes,
      last_error = EXCLUDED.last_error, envelope = EXCLUDED.envelope, properties = EXCLUDED.properties,
      body = EXCLUDED.body, claim = 0, claimed_until = 0";

pub(super) const FIND: &str =
    concat!("SELECT ", dead_columns!(), ", properties, body FROM jobs.dead_jobs WHERE id = $1");

pub(super) const CLAIM: &str = concat!(
    "UPDATE jobs.dead_jobs SET claim = $3, claimed_until = $2
     WHERE id = ANY(ARRAY(
       SELECT id FROM jobs.dead_jobs WHERE id = ANY($4) AND claimed_until <= $1
       ORDER BY id FOR UPDATE SKIP LOCKED))
     RETURNING ",
    dead_columns!(),
    ", properties, body"
);

pub(super) const REMOVE: &str = "
    DELETE FROM jobs.dead_jobs AS d USING unnest($1::uuid[], $2::bigint[]) AS redriven (id, claim)
    WHERE d.id = redriven.id AND d.claim = redriven.claim AND d.id = ANY($1)";

// A range of one queue, for the reason told at the count of scheduled jobs.
pub(super) const COUNT: &str = "
    SELECT count(*) FROM (
      SELECT FROM jobs.dead_jobs WHERE queue >= $1 AND queue <= $1 ORDER BY queue, id LIMIT $2) AS counted";

const LIST: &str = concat!("SELECT ", dead_columns!(), " FROM jobs.dead_jobs WHERE ");
const IDS: &str = "SELECT id FROM jobs.dead_jobs WHERE true";
const NUMBER: &str = "SELECT count(*) FROM jobs.dead_jobs WHERE true";
const DROP: &str = "DELETE FROM jobs.dead_jobs WHERE id = ANY(ARRAY(SELECT id FROM jobs.dead_jobs WHERE true";

/// A statement with those conditions of the filter that are set, so that each combination has its own plan.
fn matching(sql: &'static str, filter: &DeadFilter) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(sql);
    push_conditions(&mut query, filter, |value| text(value).into_owned());
    if let Some(id) = filter.id {
        query.push(" AND id = ").push_bind(id.0);
    }
    if let Some(part) = &filter.error_contains {
        query.push(" AND position(").push_bind(text(part).into_owned()).push(" IN last_error) > 0");
    }
    if let Some(after) = filter.after {
        query.push(" AND id > ").push_bind(after.0);
    }
    query
}

pub(super) fn list(filter: &JobFilter, after: Option<JobId>, limit: u32) -> QueryBuilder<Postgres> {
    let mut select = QueryBuilder::new(LIST);
    let order = push_page(&mut select, filter, after);
    select.push(order).push_bind(i64::from(limit));
    select
}

pub(super) fn delete(filter: &DeadFilter) -> QueryBuilder<Postgres> {
    let mut delete = matching(DROP, filter);
    let limit = i64::from(filter.limit.min(DROP_MAX));
    delete.push(" ORDER BY died_at LIMIT ").push_bind(limit).push(")) RETURNING id");
    delete
}

fn whole(rows: &[PgRow]) -> Vec<DeadJob> {
    rows.iter().map(|row| row::dead_whole(row, JobId(row.get("id")))).collect()
}

#[async_trait]
impl DeadJobs for PostgresJobStore {
    async fn add_dead(&self, jobs: Vec<DeadJob>) -> Result<(), EngineError> {
        // Keyed by id: of several jobs with one id the last one counts, and processes lock rows in one order.
        let jobs: BTreeMap<JobId, DeadJob> = jobs.into_iter().map(|job| (job.envelope.id, job)).collect();
        let jobs: Vec<DeadJob> = jobs.into_values().collect();
        let owned = |value: &str| text(value).into_owned();
        let ids: Vec<Uuid> = column(&jobs, |job| job.envelope.id.0);
        let envelopes = jobs.iter().map(|job| serde_json::to_string(&job.envelope));
        let envelopes: Vec<String> = envelopes.collect::<Result<_, _>>().map_err(engine_error)?;
        let are_ordered = jobs.iter().any(|job| job.envelope.order_key.is_some());
        let now = self.ambient.now();
        self.run(async || {
            let mut tx = self.database.begin().await?;
            let add = self
                .database
                .query(ADD)
                .bind(&ids)
                .bind(column(&jobs, |job| owned(&job.envelope.queue)))
                .bind(column(&jobs, |job| owned(&job.envelope.kind)))
                .bind(column(&jobs, |job| job.info.reason.as_str()))
                .bind(column(&jobs, |job| job.info.died_at.as_millisecond()))
                .bind(column(&jobs, |job| job.info.first_failed_at.as_millisecond()))
                .bind(column(&jobs, |job| i64::from(job.crashes)))
                .bind(column(&jobs, |job| job.last_error.as_deref().map(owned)))
                .bind(&envelopes)
                .bind(column(&jobs, |job| job.message.as_ref().map(|message| owned(&message.properties))))
                .bind(column(&jobs, |job| job.message.as_ref().map(|message| message.body.clone())));
            add.execute(&mut *tx).await?;
            self.database.query(keys::KEEP_DEAD).bind(&ids).execute(&mut *tx).await?;
            self.release_in(&mut tx, &ids, false).await?;
            if are_ordered {
                self.database.query(KEEP_POSITIONS).bind(&ids).execute(&mut *tx).await?;
                self.pass_on_in(&mut tx, &ids, now).await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn dead_jobs(&self, filter: &JobFilter) -> Result<DeadPage, EngineError> {
        Ok(read_page(filter, |after, limit| self.dead_chunk(filter, after, limit)).await?.into())
    }

    async fn find_dead(&self, id: JobId) -> Result<Option<DeadJob>, EngineError> {
        Ok(whole(&self.rows(|| sqlx::query(FIND).bind(id.0)).await?).pop())
    }

    async fn dead_ids(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        let mut select = matching(IDS, filter);
        select.push(" ORDER BY id LIMIT ").push_bind(i64::from(filter.limit.min(LIST_MAX)));
        let rows = self.database.rows(select.build()).await.map_err(engine_error)?;
        Ok(rows.iter().map(|row| JobId(row.get("id"))).collect())
    }

    async fn claim_dead(
        &self,
        ids: &[JobId],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<DeadJob>, EngineError> {
        let ids: Vec<Uuid> = column(ids, |id| id.0);
        let claim = || {
            let claim = sqlx::query(CLAIM).bind(now.as_millisecond()).bind(until.as_millisecond());
            claim.bind(draw_claim(&self.ambient)).bind(&ids)
        };
        let mut jobs = whole(&self.rows(claim).await?);
        jobs.sort_by_key(|job| job.envelope.id);
        Ok(jobs)
    }

    async fn remove_dead(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError> {
        let (ids, claims): (Vec<Uuid>, Vec<i64>) = claims.iter().map(|(id, claim)| (id.0, *claim)).unzip();
        self.execute(|| sqlx::query(REMOVE).bind(&ids).bind(&claims)).await
    }

    async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, EngineError> {
        if filter.dry_run {
            let rows = self.database.rows(matching(NUMBER, filter).build()).await.map_err(engine_error)?;
            let count = rows.first().map_or(0, |row| row.get::<i64, _>(0));
            return Ok(u64::try_from(count).unwrap_or(0).min(u64::from(filter.limit)));
        }
        self.run(async || {
            let mut tx = self.database.begin().await?;
            let mut delete = delete(filter);
            let dropped = delete.build().persistent(self.database.names_statements());
            let dropped = dropped.fetch_all(&mut *tx).await?;
            let ids: Vec<Uuid> = column(&dropped, |row| row.get("id"));
            self.release_in(&mut tx, &ids, true).await?;
            tx.commit().await?;
            Ok(ids.len() as u64)
        })
        .await
    }

    async fn dead_count(&self, queue: &str, most: u64) -> Result<u64, EngineError> {
        let count = self.number(|| sqlx::query(COUNT).bind(queue).bind(counted(most))).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

impl PostgresJobStore {
    async fn dead_chunk(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<DeadJob>, EngineError> {
        let rows = self.database.rows(list(filter, after, limit).build()).await.map_err(engine_error)?;
        Ok(rows.iter().map(|row| row::dead(row, JobId(row.get("id")))).collect())
    }
}
