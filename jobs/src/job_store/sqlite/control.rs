//! Queues, pauses and cancel requests.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::{SqliteJobStore, engine_error, ids_json};
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{CANCELS_MAX, Control, QueueControl, REACHED_STEP_MS, row::time},
    sqlite::fault::SqliteFault,
};

pub(super) async fn raise_version(c: &mut SqliteConnection) -> Result<(), SqliteFault> {
    sqlx::query("UPDATE control SET version = version + 1").execute(c).await?;
    Ok(())
}

#[async_trait]
impl QueueControl for SqliteJobStore {
    async fn add_queues(&self, names: &[String]) -> Result<(), EngineError> {
        let add = sqlx::query("INSERT OR IGNORE INTO queues (name) SELECT value FROM json_each(?1)");
        self.execute(add.bind(serde_json::Value::from(names).to_string())).await
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        let names = sqlx::query_scalar("SELECT name FROM queues ORDER BY name");
        Ok(names.fetch_all(self.database.readers()).await.map_err(engine_error)?)
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<bool, EngineError> {
        let queue = queue.to_owned();
        self.write(move |c| {
            Box::pin(async move {
                let set = sqlx::query("UPDATE queues SET paused = ?2 WHERE name = ?1");
                let known = set.bind(queue).bind(paused).execute(&mut *c).await?.rows_affected() == 1;
                raise_version(c).await?;
                Ok(known)
            })
        })
        .await
    }

    async fn raise_reached(&self, queue: &str, at: Timestamp) -> Result<(), EngineError> {
        let at = at.as_millisecond();
        let raise = sqlx::query(
            "UPDATE queues SET reached_at = ?2 WHERE name = ?1 AND (reached_at IS NULL OR reached_at <= ?3)",
        );
        self.execute(raise.bind(queue.to_owned()).bind(at).bind(at - REACHED_STEP_MS)).await
    }

    async fn reached_at(&self, queue: &str) -> Result<Option<Timestamp>, EngineError> {
        let reached = sqlx::query("SELECT reached_at FROM queues WHERE name = ?1").bind(queue);
        let row = reached.fetch_optional(self.database.readers()).await.map_err(engine_error)?;
        Ok(row.and_then(|row| row.get::<Option<i64>, _>(0)).map(time))
    }

    async fn control_version(&self) -> Result<i64, EngineError> {
        let version = sqlx::query_scalar("SELECT version FROM control");
        Ok(version.fetch_one(self.database.readers()).await.map_err(engine_error)?)
    }

    async fn control(&self) -> Result<Control, EngineError> {
        // The version is read first: a change between the statements then shows as a newer version at the next check.
        let version = self.control_version().await?;
        let readers = self.database.readers();
        let paused = sqlx::query_scalar("SELECT name FROM queues WHERE paused = 1");
        let paused: Vec<String> = paused.fetch_all(readers).await.map_err(engine_error)?;
        let cancels =
            sqlx::query("SELECT job, reason FROM cancel_requests ORDER BY requested_at DESC LIMIT ?1");
        let cancels = cancels.bind(CANCELS_MAX).fetch_all(readers).await.map_err(engine_error)?;
        let cancels = cancels
            .iter()
            .filter_map(|row| Some((row.get::<String, _>("job").parse().ok()?, row.get("reason"))))
            .collect();
        Ok(Control { version, paused: paused.into_iter().collect(), cancels })
    }

    async fn forget_cancels(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let json = ids_json(ids);
        self.write(move |c| {
            Box::pin(async move {
                let forget =
                    sqlx::query("DELETE FROM cancel_requests WHERE job IN (SELECT value FROM json_each(?1))");
                if forget.bind(json).execute(&mut *c).await?.rows_affected() > 0 {
                    raise_version(c).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn expire(&self, cancels_before: Timestamp, notes_before: Timestamp) -> Result<(), EngineError> {
        let (cancels, notes) = (cancels_before.as_millisecond(), notes_before.as_millisecond());
        self.write(move |c| {
            Box::pin(async move {
                let old = sqlx::query("DELETE FROM cancel_requests WHERE requested_at < ?1").bind(cancels);
                if old.execute(&mut *c).await?.rows_affected() > 0 {
                    raise_version(c).await?;
                }
                sqlx::query("DELETE FROM consumers WHERE noted_at < ?1").bind(notes).execute(c).await?;
                Ok(())
            })
        })
        .await
    }
}
