//! Reservation and release of unique keys.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid};
use sqlx::{Row, SqliteConnection};

use super::{SqliteJobStore, ids_json};
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{
        KEYS_EXPIRED_MAX, KeyRequest, Reservation, UniqueKeys,
        keys::{KeyRow, KeyStep},
    },
    sqlite::fault::SqliteFault,
};

/// Leaves the rest of a period; with `?2` of keys that dead jobs keep, too.
const END: &str = "UPDATE unique_keys SET held_as = 'period', expires_at = period_end
    WHERE job IN (SELECT value FROM json_each(?1)) AND (kept = 0 OR ?2) AND period_end IS NOT NULL";

const RELEASE: &str = "DELETE FROM unique_keys
    WHERE job IN (SELECT value FROM json_each(?1)) AND (kept = 0 OR ?2) AND period_end IS NULL";

const KEEP_DEAD: &str = "UPDATE unique_keys SET held_as = 'dead', expires_at = NULL
    WHERE job IN (SELECT value FROM json_each(?1)) AND kept = 1";

#[async_trait]
impl UniqueKeys for SqliteJobStore {
    async fn reserve_until(
        &self,
        keys: Vec<KeyRequest>,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Vec<Reservation>, EngineError> {
        let (now, until) = (now.as_millisecond(), until.map(Timestamp::as_millisecond));
        self.write(move |c| {
            Box::pin(async move {
                let mut answers = Vec::with_capacity(keys.len());
                for request in &keys {
                    answers.push(reserve(c, request, now, until).await?);
                }
                Ok(answers)
            })
        })
        .await
    }

    async fn confirm(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let confirm = sqlx::query(
            "UPDATE unique_keys SET expires_at = NULL WHERE job IN (SELECT value FROM json_each(?1))
               AND expires_at IS NOT NULL AND held_as = 'active'",
        );
        self.execute(confirm.bind(ids_json(ids))).await
    }

    async fn withdraw(&self, ids: &[JobId], reserved_at: Timestamp) -> Result<(), EngineError> {
        let withdraw = sqlx::query(
            "DELETE FROM unique_keys WHERE job IN (SELECT value FROM json_each(?1))
               AND reserved_at = ?2 AND expires_at IS NOT NULL AND held_as = 'active'",
        );
        self.execute(withdraw.bind(ids_json(ids)).bind(reserved_at.as_millisecond())).await
    }

    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids = ids_json(ids);
        self.write(move |c| Box::pin(async move { release(c, &ids, true).await })).await
    }

    async fn expire_keys(&self, now: Timestamp) -> Result<u64, EngineError> {
        let expire = sqlx::query(
            "DELETE FROM unique_keys WHERE key IN (SELECT key FROM unique_keys WHERE expires_at <= ?1 LIMIT ?2)",
        );
        let expire = expire.bind(now.as_millisecond()).bind(KEYS_EXPIRED_MAX);
        self.write(move |c| Box::pin(async move { Ok(expire.execute(c).await?.rows_affected()) })).await
    }
}

/// Frees the keys of jobs (a JSON array), but for the rest of a period; only with `with_kept` those that dead jobs
/// keep.
pub(super) async fn release(c: &mut SqliteConnection, ids: &str, with_kept: bool) -> Result<(), SqliteFault> {
    for statement in [END, RELEASE] {
        sqlx::query(statement).bind(ids).bind(with_kept).execute(&mut *c).await?;
    }
    Ok(())
}

/// Frees the keys of jobs that are dead (a JSON array), unless they keep them.
pub(super) async fn release_dead(c: &mut SqliteConnection, ids: &str) -> Result<(), SqliteFault> {
    sqlx::query(KEEP_DEAD).bind(ids).execute(&mut *c).await?;
    release(c, ids, false).await
}

async fn reserve(
    c: &mut SqliteConnection,
    request: &KeyRequest,
    now: i64,
    until: Option<i64>,
) -> Result<Reservation, SqliteFault> {
    let held = sqlx::query("SELECT job, held_as, expires_at FROM unique_keys WHERE key = ?1");
    let held = held.bind(&request.key).fetch_optional(&mut *c).await?;
    let step = held.map_or(KeyStep::Replace, |row| {
        let job = row.get::<String, _>("job").parse().unwrap_or(JobId(Uuid::nil()));
        KeyRow::read(&row, job).step(request.job, now, until.is_some())
    });
    let write = match step {
        KeyStep::Answer(answer) => return Ok(answer),
        KeyStep::Renew => {
            sqlx::query("UPDATE unique_keys SET expires_at = ?2, held_as = 'active' WHERE key = ?1")
                .bind(&request.key)
                .bind(until)
        }
        KeyStep::Replace => sqlx::query(
            "INSERT OR REPLACE INTO unique_keys (key, expires_at, job, queue, reserved_at, kept, period_end)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(&request.key)
        .bind(until)
        .bind(request.job.to_string())
        .bind(&request.queue)
        .bind(now)
        .bind(request.kept)
        .bind(request.period_end.map(Timestamp::as_millisecond)),
    };
    write.execute(c).await?;
    Ok(Reservation::Reserved)
}
