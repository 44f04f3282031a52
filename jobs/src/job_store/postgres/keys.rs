//! Reservation and release of unique keys.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use base::{ErrorClass, Timestamp, ids::Uuid};
use sqlx::{Row, postgres::PgRow};

use super::PostgresJobStore;
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::UniqueKeys,
    postgres::{PostgresFault, text},
};

/// Locks no row of a holder: such a lock would delay the release, and locking the rows of all holders ends in
/// deadlocks. Inserts in key order, so that two batches with common keys wait for each other's new rows instead of
/// deadlocking.
pub(super) const RESERVE: &str = "
    INSERT INTO jobs.unique_keys (key, job, queue, reserved_at, expires_at)
    SELECT key, job, queue, $4, $5 FROM unnest($1::text[], $2::uuid[], $3::text[]) AS wanted (key, job, queue)
    ORDER BY key
    ON CONFLICT (key) DO NOTHING
    RETURNING key, job";

pub(super) const HOLDERS: &str = "SELECT key, job, expires_at FROM jobs.unique_keys WHERE key = ANY($1)";

/// Replaces the end of own reservations that are not confirmed.
pub(super) const RENEW: &str = "
    UPDATE jobs.unique_keys SET expires_at = $3 WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE key = ANY($1) AND job = ANY($2) AND expires_at IS NOT NULL
      ORDER BY key FOR UPDATE))
    RETURNING key, job";

/// Deletes ended reservations that are in the way of others.
pub(super) const GIVE_UP: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE key = ANY($1) AND expires_at <= $2 ORDER BY key FOR UPDATE))";

pub(super) const CONFIRM: &str = "
    UPDATE jobs.unique_keys SET expires_at = NULL WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE job = ANY($1) AND expires_at IS NOT NULL ORDER BY key FOR UPDATE))";

pub(super) const WITHDRAW: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE job = ANY($1) AND reserved_at = $2 AND expires_at IS NOT NULL
      ORDER BY key FOR UPDATE))";

/// Skips locked rows: a holder that confirms at this moment is alive.
pub(super) const EXPIRE_KEYS: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE expires_at <= $1 LIMIT 10000 FOR UPDATE SKIP LOCKED))";

/// Locks in key order, so that concurrent releases of the same jobs wait for each other instead of deadlocking.
pub(super) const RELEASE: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE job = ANY($1) ORDER BY key FOR UPDATE))";

/// Rounds of reserving: a holder may end after its key was rejected and before the key is read, or its reservation has
/// ended; then the key is reserved again. That many rounds in a row mean that some job takes and frees a key in a loop.
const ROUNDS_MAX: u32 = 32;

/// Keys to reserve, each with queue and requesting job.
type Wanted = BTreeMap<String, (String, JobId)>;

#[async_trait]
impl UniqueKeys for PostgresJobStore {
    async fn reserve_until(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        // Of several jobs with one key the first one requests it; the others get its holder.
        let mut wanted = Wanted::new();
        for (key, queue, id) in &keys {
            let entry = wanted.entry(text(key).into_owned());
            entry.or_insert_with(|| (text(queue).into_owned(), *id));
        }
        let holders = self.holders(wanted, (now, until)).await?;
        let other = |(key, _, id): (String, String, JobId)| {
            holders.get(text(&key).as_ref()).copied().filter(|&holder| holder != id)
        };
        Ok(keys.into_iter().map(other).collect())
    }

    async fn confirm(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.execute(|| sqlx::query(CONFIRM).bind(&ids)).await
    }

    async fn withdraw(&self, ids: &[JobId], reserved_at: Timestamp) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.execute(|| sqlx::query(WITHDRAW).bind(&ids).bind(reserved_at.as_millisecond())).await
    }

    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.execute(|| sqlx::query(RELEASE).bind(&ids)).await
    }

    async fn expire_keys(&self, now: Timestamp) -> Result<(), EngineError> {
        self.execute(|| sqlx::query(EXPIRE_KEYS).bind(now.as_millisecond())).await
    }
}

impl PostgresJobStore {
    /// The holder of each key, after all free keys were reserved.
    async fn holders(
        &self,
        mut wanted: Wanted,
        times: (Timestamp, Option<Timestamp>),
    ) -> Result<HashMap<String, JobId>, EngineError> {
        let mut holders = HashMap::with_capacity(wanted.len());
        for _ in 0..ROUNDS_MAX {
            holders.extend(self.run(|| self.try_reserve(&wanted, times)).await?);
            wanted.retain(|key, _| !holders.contains_key(key));
            if wanted.is_empty() {
                return Ok(holders);
            }
        }
        let detail = "unique keys change hands faster than they can be read; try again";
        Err(EngineError::new(ErrorClass::Busy, "job store", detail))
    }

    /// One round: the keys reserved now, and the holders found for the other keys.
    async fn try_reserve(
        &self,
        wanted: &Wanted,
        (now, until): (Timestamp, Option<Timestamp>),
    ) -> Result<HashMap<String, JobId>, PostgresFault> {
        let (now, until) = (now.as_millisecond(), until.map(Timestamp::as_millisecond));
        let keys: Vec<&str> = wanted.keys().map(String::as_str).collect();
        let ids: Vec<Uuid> = wanted.values().map(|(_, id)| id.0).collect();
        let queues: Vec<&str> = wanted.values().map(|(queue, _)| queue.as_str()).collect();
        let reserve = sqlx::query(RESERVE).bind(&keys).bind(&ids).bind(queues).bind(now).bind(until);
        let taken = self.database.rows(reserve).await?;
        let mut holders: HashMap<_, _> = taken.iter().map(holder).collect();
        let others: Vec<&str> = keys.into_iter().filter(|&key| !holders.contains_key(key)).collect();
        if others.is_empty() {
            return Ok(holders);
        }
        let (mut own, mut ended) = (Vec::new(), Vec::new());
        for row in self.database.rows(sqlx::query(HOLDERS).bind(others)).await? {
            let (key, job) = holder(&row);
            match row.get::<Option<i64>, _>("expires_at") {
                Some(_) if wanted.get(&key).is_some_and(|(_, id)| *id == job) => own.push(key),
                Some(at) if at <= now => ended.push(key),
                _ => {
                    holders.insert(key, job);
                }
            }
        }
        if !own.is_empty() {
            let renew = sqlx::query(RENEW).bind(own).bind(ids).bind(until);
            holders.extend(self.database.rows(renew).await?.iter().map(holder));
        }
        if !ended.is_empty() {
            self.database.run(sqlx::query(GIVE_UP).bind(ended).bind(now)).await?;
        }
        Ok(holders)
    }
}

fn holder(row: &PgRow) -> (String, JobId) {
    (row.get("key"), JobId(row.get("job")))
}
