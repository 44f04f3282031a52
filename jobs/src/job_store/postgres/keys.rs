//! Unique keys.

use std::collections::{BTreeMap, HashMap};

use base::{Timestamp, ids::Uuid};
use sqlx::{Row, postgres::PgRow};

use super::PostgresJobStore;
use crate::{
    engine::EngineError,
    envelope::JobId,
    postgres::{PostgresFault, text},
};

/// Whoever asks locks no row of a holder: it would stand in the way of the release, and every holder's row locked in
/// turn by all who ask ends in deadlocks. In the order of keys, so that two batches with keys in common wait for each
/// other's new rows instead of ending in one.
pub(super) const RESERVE: &str = "
    INSERT INTO jobs.unique_keys (key, job, queue, reserved_at)
    SELECT key, job, queue, $4 FROM unnest($1::text[], $2::uuid[], $3::text[]) AS wanted (key, job, queue)
    ORDER BY key
    ON CONFLICT (key) DO NOTHING
    RETURNING key, job";

pub(super) const HOLDERS: &str = "SELECT key, job FROM jobs.unique_keys WHERE key = ANY($1)";

/// In the order of keys: those who release the same jobs wait for each other.
pub(super) const RELEASE: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE job = ANY($1) ORDER BY key FOR UPDATE))";

/// A holder may end after its key was refused and before it is looked for; then the key is asked for again. That it
/// happens so often in a row means somebody takes and drops a key in a loop.
const ROUNDS_MAX: u32 = 32;

/// Keys with who wants them, and for which queue.
type Wanted = BTreeMap<String, (String, JobId)>;

impl PostgresJobStore {
    pub(super) async fn reserve_keys(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        // The first of several with one key asks for it; the others learn who got it.
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

    /// Who has each key once all that are free were taken.
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
        let detail = "unique keys change hands faster than they can be read; try again".to_owned();
        Err(EngineError::Busy { engine: "job store", detail, source: None })
    }

    /// What was free, and who was found to have the rest.
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
        let mut holders: HashMap<_, _> = taken.iter().map(held).collect();
        let others: Vec<&str> = keys.into_iter().filter(|&key| !holders.contains_key(key)).collect();
        if !others.is_empty() {
            holders.extend(self.database.rows(sqlx::query(HOLDERS).bind(others)).await?.iter().map(held));
        }
        Ok(holders)
    }

    pub(super) async fn release_keys(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.run(async || {
            self.database.run(sqlx::query(RELEASE).bind(&ids)).await?;
            Ok(())
        })
        .await
    }
}

fn held(row: &PgRow) -> (String, JobId) {
    (row.get("key"), JobId(row.get("job")))
}
