//! Order keys: the heads of keys, and the jobs behind them.
//!
//! The row of a key in `jobs.order_keys` is its lock: who puts a job behind the head, and who passes the key on, wait
//! for each other, each with a statement of its own for the lock, so that the next one sees what the other has done.

use std::collections::HashMap;

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid, time::ceil_ms};
use sqlx::{PgConnection, Row};

use super::PostgresJobStore;
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{OrderKeys, ScheduledJob, fair::distinct, order::order_key_of},
    postgres::{PostgresFault, column, text},
};

/// The position that a job has or had, or the next one; and whether it is the head of its key. Numbers are drawn in the
/// order of the jobs, which the subquery sorts.
pub(super) const POSITIONS: &str = "
    SELECT coalesce(known, nextval('jobs.order_positions')) AS order_position, is_head
    FROM (
      SELECT coalesce(
          (SELECT order_position FROM jobs.scheduled WHERE id = n.id),
          (SELECT order_position FROM jobs.order_keys WHERE job = n.id LIMIT 1),
          (SELECT order_position FROM jobs.dead_jobs WHERE id = n.id)) AS known,
        EXISTS (SELECT 1 FROM jobs.order_keys WHERE job = n.id) AS is_head
      FROM unnest($1::uuid[]) WITH ORDINALITY AS n (id, place) ORDER BY n.place) AS asked";

/// Takes the free keys for the lowest position of each, and locks the others. In the order of the keys, so that
/// processes lock them in one order.
const TAKE_KEYS: &str = "
    INSERT INTO jobs.order_keys AS k (queue, key, job, order_position, taken_at)
    SELECT DISTINCT ON (n.queue, n.key) n.queue, n.key, n.id, n.order_position, $5::bigint
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS n (id, queue, key, order_position)
    ORDER BY n.queue, n.key, n.order_position
    ON CONFLICT (queue, key) DO UPDATE SET taken_at = k.taken_at
    RETURNING queue, key, job";

const LINE_UP: &str = "
    INSERT INTO jobs.scheduled (id, queue, kind, due_at, envelope, crashes, last_error, first_failed_at, order_key,
      order_position)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[],
      $8::bigint[], $9::text[], $10::bigint[])
    ON CONFLICT (id) DO NOTHING";

pub(super) const HEAD: &str = "SELECT job FROM jobs.order_keys WHERE queue = $1 AND key = $2";

const TAKE_KEY: &str = "
    INSERT INTO jobs.order_keys (queue, key, job, order_position, taken_at)
    VALUES ($1, $2, $3, nextval('jobs.order_positions'), $4)
    ON CONFLICT (queue, key) DO NOTHING";

pub(super) const HELD: &str =
    "SELECT queue, key FROM jobs.order_keys WHERE job = ANY($1) ORDER BY queue, key FOR UPDATE";

/// Waits for one that is being cancelled, and takes the one after it then.
pub(super) const NEXT: &str = "
    SELECT id, order_position FROM jobs.scheduled
    WHERE queue = $1 AND order_key = $2 AND order_position IS NOT NULL
    ORDER BY order_position LIMIT 1 FOR UPDATE";

const START: &str = "UPDATE jobs.scheduled SET order_key = NULL, order_position = NULL WHERE id = $1";

const SET_HEAD: &str = "
    UPDATE jobs.order_keys SET job = $3, order_position = $4, taken_at = $5 WHERE queue = $1 AND key = $2";

const FREE: &str = "DELETE FROM jobs.order_keys WHERE queue = $1 AND key = $2";

pub(super) const HEADS_OF: &str = "
    SELECT s.id, k.job FROM jobs.scheduled AS s
    JOIN jobs.order_keys AS k ON k.queue = s.queue AND k.key = s.order_key
    WHERE s.id = ANY($1) AND s.order_position IS NOT NULL";

const LEAVE: &str = "DELETE FROM jobs.scheduled WHERE id = $1 AND claim = $2";

/// Keeps the positions of jobs that die as heads.
pub(super) const KEEP_POSITIONS: &str = "
    UPDATE jobs.dead_jobs AS d SET order_position = k.order_position FROM jobs.order_keys AS k
    WHERE k.job = ANY($1) AND d.id = k.job";

/// Before the jobs behind the heads: until then, none is put behind a head that goes.
pub(super) const PURGE_ORDER: &str = "
    DELETE FROM jobs.order_keys AS k WHERE k.queue = $1
      AND ((k.taken_at < $2 AND k.job <> ALL($3)) OR EXISTS (SELECT 1 FROM jobs.scheduled AS s WHERE s.id = k.job))";

/// A job with its position.
type Lined<'j> = (&'j ScheduledJob, i64);

#[async_trait]
impl OrderKeys for PostgresJobStore {
    async fn line_up(&self, jobs: Vec<ScheduledJob>, now: Timestamp) -> Result<(), EngineError> {
        let jobs = distinct(jobs);
        self.run(async || {
            let mut tx = self.database.begin().await?;
            let positions = self.positions(&mut tx, &jobs).await?;
            let others =
                |(job, (position, is_head)): (_, &(i64, bool))| (!is_head).then_some((job, *position));
            let lined: Vec<Lined> = jobs.iter().zip(&positions).filter_map(others).collect();
            self.enter(&mut tx, &lined, now).await?;
            tx.commit().await?;
            Ok(())
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
        let key = text(key);
        let mut found = self.rows(|| sqlx::query(HEAD).bind(queue).bind(&*key)).await?;
        if found.is_empty() {
            let at = now.as_millisecond();
            self.execute(|| sqlx::query(TAKE_KEY).bind(queue).bind(&*key).bind(job.0).bind(at)).await?;
            found = self.rows(|| sqlx::query(HEAD).bind(queue).bind(&*key)).await?;
        }
        Ok(found.first().is_some_and(|row| row.get::<Uuid, _>("job") == job.0))
    }

    async fn pass_on(&self, ids: &[JobId], now: Timestamp) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = column(ids, |id| id.0);
        self.run(async || {
            let mut tx = self.database.begin().await?;
            self.pass_on_in(&mut tx, &ids, now).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn change_line(&self, job: ScheduledJob, now: Timestamp) -> Result<bool, EngineError> {
        let jobs = [job];
        self.run(async || {
            let [job] = &jobs;
            let mut tx = self.database.begin().await?;
            let positions = self.positions(&mut tx, &jobs).await?;
            let Some(&(position, _)) = positions.first() else { return Ok(false) };
            self.pass_on_in(&mut tx, &[job.envelope.id.0], now).await?;
            let leave = self.database.query(LEAVE).bind(job.envelope.id.0).bind(job.claim);
            if leave.execute(&mut *tx).await?.rows_affected() == 0 {
                return Ok(false);
            }
            self.enter(&mut tx, &[(job, position)], now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn heads_of(&self, ids: &[JobId]) -> Result<Vec<(JobId, JobId)>, EngineError> {
        let ids: Vec<Uuid> = column(ids, |id| id.0);
        let rows = self.rows(|| sqlx::query(HEADS_OF).bind(&ids)).await?;
        Ok(rows.iter().map(|row| (JobId(row.get("id")), JobId(row.get("job")))).collect())
    }
}

impl PostgresJobStore {
    /// Makes the next job of each key the head that one of these jobs has held, or frees the key.
    pub(super) async fn pass_on_in(
        &self,
        c: &mut PgConnection,
        ids: &[Uuid],
        now: Timestamp,
    ) -> Result<(), PostgresFault> {
        let now = now.as_millisecond();
        let held = self.database.query(HELD).bind(ids).fetch_all(&mut *c).await?;
        for held in &held {
            let (queue, key): (String, String) = (held.get("queue"), held.get("key"));
            let next = self.database.query(NEXT).bind(&queue).bind(&key).fetch_optional(&mut *c).await?;
            let Some(next) = next else {
                self.database.query(FREE).bind(&queue).bind(&key).execute(&mut *c).await?;
                continue;
            };
            let (id, position): (Uuid, i64) = (next.get("id"), next.get("order_position"));
            self.database.query(START).bind(id).execute(&mut *c).await?;
            let head = self.database.query(SET_HEAD).bind(&queue).bind(&key).bind(id);
            head.bind(position).bind(now).execute(&mut *c).await?;
        }
        Ok(())
    }

    /// The position of each job, and whether it is the head of its key.
    async fn positions(
        &self,
        c: &mut PgConnection,
        jobs: &[ScheduledJob],
    ) -> Result<Vec<(i64, bool)>, PostgresFault> {
        let positions = self.database.query(POSITIONS).bind(column(jobs, |job| job.envelope.id.0));
        let rows = positions.fetch_all(c).await?;
        Ok(rows.iter().map(|row| (row.get("order_position"), row.get("is_head"))).collect())
    }

    /// Stores jobs, each as the head of its key if that is free, or behind it.
    async fn enter(
        &self,
        c: &mut PgConnection,
        lined: &[Lined<'_>],
        now: Timestamp,
    ) -> Result<(), PostgresFault> {
        if lined.is_empty() {
            return Ok(());
        }
        let owned = |value: &str| text(value).into_owned();
        let ids = column(lined, |(job, _)| job.envelope.id.0);
        let queues = column(lined, |(job, _)| owned(&job.envelope.queue));
        let keys = column(lined, |(job, _)| owned(order_key_of(job)));
        let take = self.database.query(TAKE_KEYS).bind(&ids).bind(&queues).bind(&keys);
        let take = take.bind(column(lined, |(_, position)| *position)).bind(now.as_millisecond());
        let heads: HashMap<(String, String), Uuid> = take
            .fetch_all(&mut *c)
            .await?
            .iter()
            .map(|row| ((row.get("queue"), row.get("key")), row.get("job")))
            .collect();
        let is_behind = |(job, _): &Lined<'_>| {
            let key = (owned(&job.envelope.queue), owned(order_key_of(job)));
            heads.get(&key) != Some(&job.envelope.id.0)
        };
        let envelopes = lined.iter().map(|(job, _)| serde_json::to_string(&job.envelope));
        let envelopes: Vec<String> = envelopes.collect::<Result<_, _>>()?;
        let add = self.database.query(LINE_UP).bind(&ids).bind(&queues);
        let add = add.bind(column(lined, |(job, _)| owned(&job.envelope.kind)));
        let add = add.bind(column(lined, |(job, _)| ceil_ms(job.due_at))).bind(&envelopes);
        let add = add.bind(column(lined, |(job, _)| i64::from(job.crashes)));
        let add = add.bind(column(lined, |(job, _)| job.last_error.as_deref().map(owned)));
        let add = add.bind(column(lined, |(job, _)| job.first_failed_at.map(Timestamp::as_millisecond)));
        let add = add.bind(column(lined, |one| is_behind(one).then(|| owned(order_key_of(one.0)))));
        add.bind(column(lined, |one| is_behind(one).then_some(one.1))).execute(c).await?;
        Ok(())
    }
}
