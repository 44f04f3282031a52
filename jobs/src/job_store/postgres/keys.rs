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
    INSERT INTO jobs.unique_keys (key, job, queue, reserved_at)
    SELECT key, job, queue, $4 FROM unnest($1::text[], $2::uuid[], $3::text[]) AS wanted (key, job, queue)
    ORDER BY key
    ON CONFLICT (key) DO NOTHING
    RETURNING key, job";

pub(super) const HOLDERS: &str = "SELECT key, job FROM jobs.unique_keys WHERE key = ANY($1)";

/// Locks in key order, so that concurrent releases of the same jobs wait for each other instead of deadlocking.
pub(super) const RELEASE: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE job = ANY($1) ORDER BY key FOR UPDATE))";

/// Rounds of reserving: a holder may end after its key was rejected and before the key is read; then the key is
/// reserved again. That many rounds in a row mean that some job takes and frees a key in a loop.
const ROUNDS_MAX: u32 = 32;

/// Keys to reserve, each with queue and requesting job.
type Wanted = BTreeMap<String, (String, JobId)>;

#[async_trait]
impl UniqueKeys for PostgresJobStore {
    async fn reserve(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        // Of several jobs with one key the first one requests it; the others get its holder.
        let mut wanted = Wanted::new();
        for (key, queue, id) in &keys {
            let entry = wanted.entry(text(key).into_owned());
            entry.or_insert_with(|| (text(queue).into_owned(), *id));
        }
        let holders = self.holders(wanted, now).await?;
        let other = |(key, _, id): (String, String, JobId)| {
            holders.get(text(&key).as_ref()).copied().filter(|&holder| holder != id)
        };
        Ok(keys.into_iter().map(other).collect())
    }

    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.execute(|| sqlx::query(RELEASE).bind(&ids)).await
    }
}

impl PostgresJobStore {
    /// The holder of each key, after all free keys were reserved.
    async fn holders(
        &self,
        mut wanted: Wanted,
        now: Timestamp,
    ) -> Result<HashMap<String, JobId>, EngineError> {
        let mut holders = HashMap::with_capacity(wanted.len());
        for _ in 0..ROUNDS_MAX {
            holders.extend(self.run(|| self.try_reserve(&wanted, now)).await?);
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
        now: Timestamp,
    ) -> Result<HashMap<String, JobId>, PostgresFault> {
        let keys: Vec<&str> = wanted.keys().map(String::as_str).collect();
        let ids: Vec<Uuid> = wanted.values().map(|(_, id)| id.0).collect();
        let queues: Vec<&str> = wanted.values().map(|(queue, _)| queue.as_str()).collect();
        let reserve = sqlx::query(RESERVE).bind(&keys).bind(ids).bind(queues).bind(now.as_millisecond());
        let taken = self.database.rows(reserve).await?;
        let mut holders: HashMap<_, _> = taken.iter().map(holder).collect();
        let others: Vec<&str> = keys.into_iter().filter(|&key| !holders.contains_key(key)).collect();
        if !others.is_empty() {
            holders.extend(self.database.rows(sqlx::query(HOLDERS).bind(others)).await?.iter().map(holder));
        }
        Ok(holders)
    }
}

fn holder(row: &PgRow) -> (String, JobId) {
    (row.get("key"), JobId(row.get("job")))
}
