//! Reservation and release of unique keys.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::{SqliteJobStore, ids_json};
use crate::{engine::EngineError, envelope::JobId, job_store::UniqueKeys, sqlite::fault::SqliteFault};

#[async_trait]
impl UniqueKeys for SqliteJobStore {
    async fn reserve(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        let now = now.as_millisecond();
        self.write(move |c| {
            Box::pin(async move {
                let mut holders = Vec::with_capacity(keys.len());
                for (key, queue, id) in &keys {
                    holders.push(reserve(c, key, queue, *id, now).await?);
                }
                Ok(holders)
            })
        })
        .await
    }

    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let release = sqlx::query("DELETE FROM unique_keys WHERE job IN (SELECT value FROM json_each(?1))");
        self.execute(release.bind(ids_json(ids))).await
    }
}

/// Reserves the key, or returns the other job that holds it.
async fn reserve(
    c: &mut SqliteConnection,
    key: &str,
    queue: &str,
    id: JobId,
    now: i64,
) -> Result<Option<JobId>, SqliteFault> {
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
