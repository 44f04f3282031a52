//! Scheduled jobs and the claims under which they are published.
//!
//! A claim is a time in the row, not a row lock: no transaction stays open while a job is published. `FOR UPDATE SKIP
//! LOCKED` only separates processes that claim at the same moment.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid, time::ceil_ms};
use sqlx::{Executor, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{PostgresJobStore, engine_error, order::PURGE_ORDER, page::push_page};
use crate::{
    engine::{EngineError, JobFilter, LIST_MAX},
    envelope::JobId,
    job_store::{
        CANCELS_MAX, ScheduledJob, ScheduledJobs, draw_claim,
        fair::wants_fair,
        row::{self, columns, counted},
        too_many_cancels,
    },
    postgres::{column, text},
};

/// A purge may delete more rows than the usual statement timeout allows.
const PURGE_TIMEOUT: &str = "SET LOCAL statement_timeout = '60s'";

// Of two copies of a job the envelope with more attempts used stays. The rest is replaced in any case, the claim above
// all: under it the row would be deleted when the job was published before. An envelope is a text, so that a payload
// reads back byte for byte; the first such key in it is that of the envelope, because the payload stands last.
pub(super) const SCHEDULE: &str = r#"
    INSERT INTO jobs.scheduled AS held (id, queue, kind, due_at, envelope, crashes, last_error, first_failed_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[],
      $8::bigint[])
    ON CONFLICT (id) DO UPDATE SET queue = EXCLUDED.queue, kind = EXCLUDED.kind, due_at = EXCLUDED.due_at,
      envelope = CASE
        WHEN substring(held.envelope FROM '"attempt":([0-9]+)')::bigint
          > substring(EXCLUDED.envelope FROM '"attempt":([0-9]+)')::bigint
        THEN held.envelope ELSE EXCLUDED.envelope END,
      crashes = EXCLUDED.crashes, last_error = EXCLUDED.last_error,
      first_failed_at = EXCLUDED.first_failed_at, priority = NULL, tag = NULL, claim = 0, claimed_until = 0"#;

// An array, because with a join the planner may scan the table once the limit is a parameter.
pub(super) const CLAIM_DUE: &str = concat!(
    "UPDATE jobs.scheduled SET claim = $3, claimed_until = $2
     WHERE id = ANY(ARRAY(
       SELECT id FROM jobs.scheduled
       WHERE due_at <= $1 AND claimed_until <= $1 AND tag IS NULL AND order_position IS NULL
       ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED))
     RETURNING ",
    columns!()
);

pub(super) const CLAIM_ONE: &str = concat!(
    "UPDATE jobs.scheduled SET claim = $3, claimed_until = $2 WHERE id = $4 AND claimed_until <= $1 RETURNING ",
    columns!()
);

pub(super) const UNSCHEDULE: &str = "
    DELETE FROM jobs.scheduled AS s USING unnest($1::uuid[], $2::bigint[]) AS published (id, claim)
    WHERE s.id = published.id AND s.claim = published.claim AND s.id = ANY($1)";

const LIST: &str = concat!("SELECT ", columns!(), " FROM jobs.scheduled WHERE ");

pub(super) const FIND: &str = concat!("SELECT ", columns!(), " FROM jobs.scheduled WHERE id = $1");

// A range of one queue, not an equality: the order is then that of one index only, and the planner reads no other one
// until it has enough.
pub(super) const COUNT: &str = "
    SELECT count(*) FROM (
        SELECT FROM jobs.scheduled WHERE queue >= $1 AND queue <= $1 AND tag IS NULL ORDER BY queue, id
        LIMIT $2) AS counted";

pub(super) const PURGE: &str = "DELETE FROM jobs.scheduled WHERE queue = $1";

/// Leaves the rest of a period.
const PURGE_PERIODS: &str = "
    UPDATE jobs.unique_keys SET held_as = 'period', expires_at = period_end
    WHERE queue = $1 AND reserved_at < $2 AND held_as = 'active' AND period_end IS NOT NULL AND job <> ALL($3)";

const PURGE_KEYS: &str = "
    DELETE FROM jobs.unique_keys
    WHERE queue = $1 AND reserved_at < $2 AND held_as = 'active' AND period_end IS NULL AND job <> ALL($3)";

const DELETE_UNCLAIMED: &str = "DELETE FROM jobs.scheduled WHERE id = $1 AND claimed_until <= $2";

// Reads hardly more rows than there may be.
const COUNT_CANCELS: &str = "SELECT count(*) FROM (SELECT 1 FROM jobs.cancel_requests LIMIT $1) AS requests";

const REQUEST_CANCEL: &str = "
    INSERT INTO jobs.cancel_requests (job, reason, requested_at) VALUES ($1, $2, $3)
    ON CONFLICT (job) DO UPDATE SET reason = EXCLUDED.reason, requested_at = EXCLUDED.requested_at";

fn scheduled(row: &PgRow) -> Option<ScheduledJob> {
    row::scheduled(row).ok()
}

pub(super) fn list(filter: &JobFilter) -> QueryBuilder<Postgres> {
    let mut select = QueryBuilder::new(LIST);
    let order = push_page(&mut select, filter, filter.after);
    // Literals, so that the planner can use the partial index.
    if let Some(is_fair) = wants_fair(filter) {
        select.push(if is_fair { " AND tag IS NOT NULL" } else { " AND tag IS NULL" });
    }
    select.push(order).push_bind(i64::from(filter.limit.min(LIST_MAX)));
    select
}

#[async_trait]
impl ScheduledJobs for PostgresJobStore {
    async fn schedule(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        // Keyed by id: a statement changes a row once, and processes lock rows in one order.
        let mut by_id: BTreeMap<JobId, ScheduledJob> = BTreeMap::new();
        for mut job in jobs {
            if let Some(held) = by_id.remove(&job.envelope.id)
                && held.envelope.attempt > job.envelope.attempt
            {
                job.envelope = held.envelope;
            }
            by_id.insert(job.envelope.id, job);
        }
        let jobs: Vec<ScheduledJob> = by_id.into_values().collect();
        let owned = |value: &str| text(value).into_owned();
        let envelopes = jobs.iter().map(|job| serde_json::to_string(&job.envelope));
        let envelopes: Vec<String> = envelopes.collect::<Result<_, _>>().map_err(engine_error)?;
        self.execute(|| {
            sqlx::query(SCHEDULE)
                .bind(column(&jobs, |job| job.envelope.id.0))
                .bind(column(&jobs, |job| owned(&job.envelope.queue)))
                .bind(column(&jobs, |job| owned(&job.envelope.kind)))
                .bind(column(&jobs, |job| ceil_ms(job.due_at)))
                .bind(&envelopes)
                .bind(column(&jobs, |job| i64::from(job.crashes)))
                .bind(column(&jobs, |job| job.last_error.as_deref().map(owned)))
                .bind(column(&jobs, |job| job.first_failed_at.map(Timestamp::as_millisecond)))
        })
        .await
    }

    async fn claim_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        let claim = || {
            let claim = sqlx::query(CLAIM_DUE).bind(now.as_millisecond()).bind(until.as_millisecond());
            claim.bind(draw_claim(&self.ambient)).bind(i64::from(limit))
        };
        let rows = self.rows(claim).await?;
        let (jobs, corrupt) = row::claimed(&rows, |row| JobId(row.get("id")));
        if !corrupt.is_empty() {
            let corrupt: Vec<Uuid> = corrupt.iter().map(|id| id.0).collect();
            let aside = "UPDATE jobs.scheduled SET due_at = $2 WHERE id = ANY($1)";
            self.execute(|| sqlx::query(aside).bind(&corrupt).bind(row::SET_ASIDE)).await?;
        }
        Ok(jobs)
    }

    async fn claim(
        &self,
        id: JobId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ScheduledJob>, EngineError> {
        let claim = || {
            let claim = sqlx::query(CLAIM_ONE).bind(now.as_millisecond()).bind(until.as_millisecond());
            claim.bind(draw_claim(&self.ambient)).bind(id.0)
        };
        Ok(self.rows(claim).await?.first().and_then(scheduled))
    }

    async fn unschedule(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError> {
        let (ids, claims): (Vec<Uuid>, Vec<i64>) = claims.iter().map(|(id, claim)| (id.0, *claim)).unzip();
        self.execute(|| sqlx::query(UNSCHEDULE).bind(&ids).bind(&claims)).await
    }

    async fn scheduled(&self, filter: &JobFilter) -> Result<Vec<ScheduledJob>, EngineError> {
        let rows = self.database.rows(list(filter).build()).await.map_err(engine_error)?;
        Ok(rows.iter().filter_map(scheduled).collect())
    }

    async fn find(&self, id: JobId) -> Result<Option<ScheduledJob>, EngineError> {
        Ok(self.rows(|| sqlx::query(FIND).bind(id.0)).await?.first().and_then(scheduled))
    }

    async fn scheduled_count(&self, queue: &str, most: u64) -> Result<u64, EngineError> {
        let count = self.number(|| sqlx::query(COUNT).bind(queue).bind(counted(most))).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn purge(&self, queue: &str, before: Timestamp, running: &[JobId]) -> Result<u64, EngineError> {
        let running: Vec<Uuid> = running.iter().map(|id| id.0).collect();
        self.run(async || {
            let mut tx = self.database.begin().await?;
            tx.execute(sqlx::raw_sql(PURGE_TIMEOUT)).await?;
            let order = self.database.query(PURGE_ORDER).bind(queue).bind(before.as_millisecond());
            order.bind(&running).execute(&mut *tx).await?;
            let jobs = self.database.query(PURGE).bind(queue).execute(&mut *tx).await?.rows_affected();
            for statement in [PURGE_PERIODS, PURGE_KEYS] {
                let keys = self.database.query(statement).bind(queue).bind(before.as_millisecond());
                keys.bind(&running).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(jobs)
        })
        .await
    }

    /// A job that is being published has a live claim: it gets a cancel request, which its consumer carries out.
    async fn cancel(&self, id: JobId, reason: &str, now: Timestamp) -> Result<bool, EngineError> {
        let (at, now) = (now, now.as_millisecond());
        let removed = self.run(async || {
            let mut tx = self.database.begin().await?;
            let removed = self.database.query(DELETE_UNCLAIMED).bind(id.0).bind(now);
            let removed = removed.execute(&mut *tx).await?.rows_affected() > 0;
            if removed {
                self.release_in(&mut tx, &[id.0], true).await?;
                self.pass_on_in(&mut tx, &[id.0], at).await?;
            } else {
                let request = self.database.query(REQUEST_CANCEL).bind(id.0).bind(text(reason)).bind(now);
                request.execute(&mut *tx).await?;
                // Its row lock makes requests wait for each other: each counts those before it.
                self.raise_version(&mut tx).await?;
                let most = i64::from(CANCELS_MAX);
                let count = self.database.query(COUNT_CANCELS).bind(most + 1).fetch_one(&mut *tx).await?;
                if count.get::<i64, _>(0) > most {
                    return Ok(None);
                }
            }
            tx.commit().await?;
            Ok(Some(removed))
        });
        removed.await?.ok_or_else(too_many_cancels)
    }
}
