//! Reservation and release of unique keys.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::{SqliteJobStore, ids_json};
use crate::{engine::EngineError, envelope::JobId, job_store::UniqueKeys, sqlite::fault::SqliteFault};

#[async_trait]
impl UniqueKeys for SqliteJobStore {
    async fn reserve_until(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        let (now, until) = (now.as_millisecond(), until.map(Timestamp::as_millisecond));
        self.write(move |c| {
            Box::pin(async move {
                let mut holders = Vec::with_capacity(keys.len());
                for (key, queue, id) in &keys {
                    holders.push(reserve(c, (key, queue, *id), now, until).await?);
                }
                Ok(holders)
            })
        })
        .await
    }

    async fn confirm(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let confirm = sqlx::query(
            "UPDATE unique_keys SET expires_at = NULL
             WHERE job IN (SELECT value FROM json_each(?1)) AND expires_at IS NOT NULL",
        );
        self.execute(confirm.bind(ids_json(ids))).await
    }

    async fn withdraw(&self, ids: &[JobId], reserved_at: Timestamp) -> Result<(), EngineError> {
        let withdraw = sqlx::query(
            "DELETE FROM unique_keys WHERE job IN (SELECT value FROM json_each(?1))
               AND reserved_at = ?2 AND expires_at IS NOT NULL",
        );
        self.execute(withdraw.bind(ids_json(ids)).bind(reserved_at.as_millisecond())).await
    }

    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let release = sqlx::query("DELETE FROM unique_keys WHERE job IN (SELECT value FROM json_each(?1))");
        self.execute(release.bind(ids_json(ids))).await
    }

    async fn expire_keys(&self, now: Timestamp) -> Result<(), EngineError> {
        let expire = sqlx::query("DELETE FROM unique_keys WHERE expires_at <= ?1");
        self.execute(expire.bind(now.as_millisecond())).await
    }
}

/// Reserves the key, or returns the other job that holds it.
async fn reserve(
    c: &mut SqliteConnection,
    (key, queue, id): (&str, &str, JobId),
    now: i64,
    until: Option<i64>,
) -> Result<Option<JobId>, SqliteFault> {
    let taken = sqlx::query(
        "INSERT INTO unique_keys (key, job, queue, reserved_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (key) DO UPDATE SET queue = excluded.queue, expires_at = excluded.expires_at,
           reserved_at = CASE WHEN unique_keys.job = excluded.job THEN unique_keys.reserved_at ELSE ?4 END,
           job = excluded.job
         WHERE unique_keys.expires_at <= ?4
           OR (unique_keys.expires_at IS NOT NULL AND unique_keys.job = excluded.job)",
    );
    let taken = taken.bind(key).bind(id.to_string()).bind(queue).bind(now).bind(until);
    if taken.execute(&mut *c).await?.rows_affected() == 1 {
        return Ok(None);
    }
    let holder = sqlx::query("SELECT job FROM unique_keys WHERE key = ?1").bind(key).fetch_one(c).await?;
    let holder: String = holder.get("job");
    Ok(holder.parse().ok().filter(|&other| other != id))
}
