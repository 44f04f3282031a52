//! Queues, pauses and cancel requests.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid};
use sqlx::{PgConnection, Row};

use super::PostgresJobStore;
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{CANCELS_MAX, Control, QueueControl, REACHED_STEP_MS, row::time},
    postgres::PostgresFault,
};

pub(super) const CANCELS: &str =
    "SELECT job, reason FROM jobs.cancel_requests ORDER BY requested_at DESC LIMIT $1";
pub(super) const FORGET_CANCELS: &str = "DELETE FROM jobs.cancel_requests WHERE job = ANY($1)";
pub(super) const EXPIRE_CANCELS: &str = "DELETE FROM jobs.cancel_requests WHERE requested_at < $1";
pub(super) const EXPIRE_NOTES: &str = "DELETE FROM jobs.consumers WHERE noted_at < $1";

const RAISE_REACHED: &str = "
    UPDATE jobs.queues SET reached_at = $2 WHERE name = $1 AND (reached_at IS NULL OR reached_at <= $3)";

#[async_trait]
impl QueueControl for PostgresJobStore {
    async fn add_queues(&self, names: &[String]) -> Result<(), EngineError> {
        let add =
            "INSERT INTO jobs.queues (name) SELECT unnest($1::text[]) ORDER BY 1 ON CONFLICT DO NOTHING";
        self.execute(|| sqlx::query(add).bind(names)).await
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        // Sorted by bytes, as in every implementation.
        let rows =
            self.rows(|| sqlx::query("SELECT name FROM jobs.queues ORDER BY name COLLATE \"C\"")).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<bool, EngineError> {
        self.run(async || {
            let mut tx = self.database.begin().await?;
            let set = self.database.query("UPDATE jobs.queues SET paused = $2 WHERE name = $1");
            let known = set.bind(queue).bind(paused).execute(&mut *tx).await?.rows_affected() == 1;
            self.raise_version(&mut tx).await?;
            tx.commit().await?;
            Ok(known)
        })
        .await
    }

    async fn raise_reached(&self, queue: &str, at: Timestamp) -> Result<(), EngineError> {
        let at = at.as_millisecond();
        self.execute(|| sqlx::query(RAISE_REACHED).bind(queue).bind(at).bind(at - REACHED_STEP_MS)).await
    }

    async fn reached_at(&self, queue: &str) -> Result<Option<Timestamp>, EngineError> {
        let reached = "SELECT reached_at FROM jobs.queues WHERE name = $1";
        let rows = self.rows(|| sqlx::query(reached).bind(queue)).await?;
        Ok(rows.first().and_then(|row| row.get::<Option<i64>, _>(0)).map(time))
    }

    async fn control_version(&self) -> Result<i64, EngineError> {
        self.number(|| sqlx::query("SELECT version FROM jobs.control")).await
    }

    async fn control(&self) -> Result<Control, EngineError> {
        self.run(async || {
            let mut tx = self.database.begin().await?;
            // The version is read first: a change between the statements then shows as a newer version at the next
            // check.
            let version = self.database.query("SELECT version FROM jobs.control");
            let version = version.fetch_one(&mut *tx).await?.get(0);
            let paused = self.database.query("SELECT name FROM jobs.queues WHERE paused");
            let paused = paused.fetch_all(&mut *tx).await?;
            let cancels =
                self.database.query(CANCELS).bind(i64::from(CANCELS_MAX)).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            let cancels = cancels.iter().map(|row| (JobId(row.get("job")), row.get("reason"))).collect();
            Ok(Control { version, paused: paused.iter().map(|row| row.get("name")).collect(), cancels })
        })
        .await
    }

    async fn forget_cancels(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.run(async || {
            let mut tx = self.database.begin().await?;
            if self.database.query(FORGET_CANCELS).bind(&ids).execute(&mut *tx).await?.rows_affected() > 0 {
                self.raise_version(&mut tx).await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn expire(&self, cancels_before: Timestamp, notes_before: Timestamp) -> Result<(), EngineError> {
        self.run(async || {
            let mut tx = self.database.begin().await?;
            let old = self.database.query(EXPIRE_CANCELS).bind(cancels_before.as_millisecond());
            if old.execute(&mut *tx).await?.rows_affected() > 0 {
                self.raise_version(&mut tx).await?;
            }
            let notes = self.database.query(EXPIRE_NOTES).bind(notes_before.as_millisecond());
            notes.execute(&mut *tx).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}

impl PostgresJobStore {
    pub(super) async fn raise_version(&self, c: &mut PgConnection) -> Result<(), PostgresFault> {
        self.database.query("UPDATE jobs.control SET version = version + 1").execute(c).await?;
        Ok(())
    }
}
