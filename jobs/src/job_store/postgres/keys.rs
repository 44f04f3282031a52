//! Unique keys.

use std::collections::{BTreeMap, HashMap};

use base::{Timestamp, ids::Uuid};
use sqlx::Row;

use super::PostgresJobStore;
use crate::{
    engine::EngineError,
    envelope::JobId,
    postgres::{Fault, text},
};

// The update changes nothing: it locks the row of whoever holds the key and answers it in the same step. Reading it
// afterwards would find nothing when the holder ends in between. In the order of keys, so that two batches with keys
// in common wait for each other instead of ending in a deadlock.
pub(super) const RESERVE: &str = "
    INSERT INTO jobs.unique_keys AS u (key, job, queue, reserved_at)
    SELECT key, job, queue, $4 FROM unnest($1::text[], $2::uuid[], $3::text[]) AS wanted (key, job, queue)
    ORDER BY key
    ON CONFLICT (key) DO UPDATE SET job = u.job
    RETURNING key, job";

pub(super) const RELEASE: &str = "DELETE FROM jobs.unique_keys WHERE job = ANY($1)";

impl PostgresJobStore {
    pub(super) async fn reserve_keys(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        // The first of several with one key asks for it; the others learn who got it.
        let mut wanted: BTreeMap<String, (String, JobId)> = BTreeMap::new();
        for (key, queue, id) in &keys {
            let entry = wanted.entry(text(key).into_owned());
            entry.or_insert_with(|| (text(queue).into_owned(), *id));
        }
        let holders = self.run(|| self.try_reserve(&wanted, now)).await?;
        let other = |(key, _, id): (String, String, JobId)| {
            holders.get(text(&key).as_ref()).copied().filter(|&holder| holder != id)
        };
        Ok(keys.into_iter().map(other).collect())
    }

    async fn try_reserve(
        &self,
        wanted: &BTreeMap<String, (String, JobId)>,
        now: Timestamp,
    ) -> Result<HashMap<String, JobId>, Fault> {
        let keys: Vec<&str> = wanted.keys().map(String::as_str).collect();
        let ids: Vec<Uuid> = wanted.values().map(|(_, id)| id.0).collect();
        let queues: Vec<&str> = wanted.values().map(|(queue, _)| queue.as_str()).collect();
        let reserve = sqlx::query(RESERVE).bind(keys).bind(ids).bind(queues).bind(now.as_millisecond());
        let rows = self.database.rows(reserve).await?;
        Ok(rows.iter().map(|row| (row.get("key"), JobId(row.get("job")))).collect())
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
