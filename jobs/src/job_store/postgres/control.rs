//! Queues, pauses, cancel requests and consumer notes; and the [`JobStore`] implementation.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{PostgresJobStore, schedule::Which};
use crate::{
    engine::{EngineError, JobFilter},
    envelope::JobId,
    job_store::{CANCELS_MAX, ConsumerNote, Control, JobStore, ScheduledJob},
    postgres::{PostgresFault, text, time},
};

pub(super) const CANCELS: &str =
    "SELECT job, reason FROM jobs.cancel_requests ORDER BY requested_at DESC LIMIT $1";
pub(super) const FORGET_CANCELS: &str = "DELETE FROM jobs.cancel_requests WHERE job = ANY($1)";
pub(super) const EXPIRE_CANCELS: &str = "DELETE FROM jobs.cancel_requests WHERE requested_at < $1";
pub(super) const EXPIRE_NOTES: &str = "DELETE FROM jobs.consumers WHERE noted_at < $1";
pub(super) const NOTES: &str = "
    SELECT session, name, queue, running, reached_at, noted_at FROM jobs.consumers
    WHERE queue = $1 AND noted_at >= $2 ORDER BY name COLLATE \"C\", session";
const NOTE: &str = "
    INSERT INTO jobs.consumers (session, name, queue, running, reached_at, noted_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (session) DO UPDATE SET name = EXCLUDED.name, queue = EXCLUDED.queue, running = EXCLUDED.running,
      reached_at = EXCLUDED.reached_at, noted_at = EXCLUDED.noted_at";
const REQUEST: &str = "
    INSERT INTO jobs.cancel_requests (job, reason, requested_at) VALUES ($1, $2, $3)
    ON CONFLICT (job) DO UPDATE SET reason = EXCLUDED.reason, requested_at = EXCLUDED.requested_at";

impl PostgresJobStore {
    async fn raise_version(&self, c: &mut PgConnection) -> Result<(), PostgresFault> {
        self.database.query("UPDATE jobs.control SET version = version + 1").execute(c).await?;
        Ok(())
    }

    async fn try_add_queues(&self, names: &[String]) -> Result<(), PostgresFault> {
        let add =
            "INSERT INTO jobs.queues (name) SELECT unnest($1::text[]) ORDER BY 1 ON CONFLICT DO NOTHING";
        self.database.run(sqlx::query(add).bind(names)).await?;
        Ok(())
    }

    async fn try_set_paused(&self, queue: &str, paused: bool) -> Result<bool, PostgresFault> {
        let mut tx = self.database.begin().await?;
        let set = self.database.query("UPDATE jobs.queues SET paused = $2 WHERE name = $1");
        let known = set.bind(queue).bind(paused).execute(&mut *tx).await?.rows_affected() == 1;
        self.raise_version(&mut tx).await?;
        tx.commit().await?;
        Ok(known)
    }

    async fn try_version(&self) -> Result<i64, PostgresFault> {
        let row = self.database.row(sqlx::query("SELECT version FROM jobs.control")).await?;
        Ok(row.ok_or(sqlx::Error::RowNotFound)?.get(0))
    }

    async fn try_control(&self) -> Result<Control, PostgresFault> {
        let mut tx = self.database.begin().await?;
        // The version is read first: a change between the statements then shows as a newer version at the next check.
        let version =
            self.database.query("SELECT version FROM jobs.control").fetch_one(&mut *tx).await?.get(0);
        let paused =
            self.database.query("SELECT name FROM jobs.queues WHERE paused").fetch_all(&mut *tx).await?;
        let cancels = self.database.query(CANCELS).bind(i64::from(CANCELS_MAX)).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let cancels = cancels.iter().map(|row| (JobId(row.get("job")), row.get("reason"))).collect();
        Ok(Control { version, paused: paused.iter().map(|row| row.get("name")).collect(), cancels })
    }

    /// A job that is being published has a live claim: it gets a cancel request, which its consumer carries out.
    async fn try_cancel(&self, id: JobId, reason: &str, now: i64) -> Result<bool, PostgresFault> {
        let mut tx = self.database.begin().await?;
        let removed = self.database.query("DELETE FROM jobs.scheduled WHERE id = $1 AND claimed_until <= $2");
        let removed = removed.bind(id.0).bind(now).execute(&mut *tx).await?.rows_affected() > 0;
        if removed {
            let keys = self.database.query("DELETE FROM jobs.unique_keys WHERE job = $1");
            keys.bind(id.0).execute(&mut *tx).await?;
        } else {
            let request = self.database.query(REQUEST).bind(id.0).bind(text(reason)).bind(now);
            request.execute(&mut *tx).await?;
            self.raise_version(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(removed)
    }

    async fn try_forget_cancels(&self, ids: &[Uuid]) -> Result<(), PostgresFault> {
        let mut tx = self.database.begin().await?;
        if self.database.query(FORGET_CANCELS).bind(ids).execute(&mut *tx).await?.rows_affected() > 0 {
            self.raise_version(&mut tx).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn try_expire(&self, cancels_before: i64, notes_before: i64) -> Result<(), PostgresFault> {
        let mut tx = self.database.begin().await?;
        let old = self.database.query(EXPIRE_CANCELS).bind(cancels_before);
        if old.execute(&mut *tx).await?.rows_affected() > 0 {
            self.raise_version(&mut tx).await?;
        }
        self.database.query(EXPIRE_NOTES).bind(notes_before).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn try_note(&self, note: &ConsumerNote) -> Result<(), PostgresFault> {
        let keep = sqlx::query(NOTE).bind(note.session.cast_signed()).bind(text(&note.name));
        let keep = keep.bind(text(&note.queue)).bind(i64::try_from(note.running).unwrap_or(i64::MAX));
        let keep = keep.bind(note.reached_at.map(Timestamp::as_millisecond)).bind(note.at.as_millisecond());
        self.database.run(keep).await?;
        Ok(())
    }
}

fn note(row: &PgRow) -> ConsumerNote {
    ConsumerNote {
        session: row.get::<i64, _>("session").cast_unsigned(),
        name: row.get("name"),
        queue: row.get("queue"),
        running: u64::try_from(row.get::<i64, _>("running")).unwrap_or(0),
        reached_at: row.get::<Option<i64>, _>("reached_at").map(time),
        at: time(row.get("noted_at")),
    }
}

#[async_trait]
impl JobStore for PostgresJobStore {
    async fn add_queues(&self, names: &[String]) -> Result<(), EngineError> {
        self.run(|| self.try_add_queues(names)).await
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        self.run(async || {
            // Sorted by bytes, as in every implementation.
            let names = sqlx::query("SELECT name FROM jobs.queues ORDER BY name COLLATE \"C\"");
            Ok(self.database.rows(names).await?.iter().map(|row| row.get(0)).collect())
        })
        .await
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<bool, EngineError> {
        self.run(|| self.try_set_paused(queue, paused)).await
    }

    async fn control_version(&self) -> Result<i64, EngineError> {
        self.run(|| self.try_version()).await
    }

    async fn control(&self) -> Result<Control, EngineError> {
        self.run(|| self.try_control()).await
    }

    async fn cancel(&self, id: JobId, reason: &str, now: Timestamp) -> Result<bool, EngineError> {
        self.run(|| self.try_cancel(id, reason, now.as_millisecond())).await
    }

    async fn forget_cancels(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.run(|| self.try_forget_cancels(&ids)).await
    }

    async fn expire(&self, cancels_before: Timestamp, notes_before: Timestamp) -> Result<(), EngineError> {
        self.run(|| self.try_expire(cancels_before.as_millisecond(), notes_before.as_millisecond())).await
    }

    async fn schedule(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        self.insert(jobs).await
    }

    async fn claim_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        self.claim_jobs(Which::Due(limit), now, until).await
    }

    async fn claim(
        &self,
        id: JobId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ScheduledJob>, EngineError> {
        Ok(self.claim_jobs(Which::One(id), now, until).await?.pop())
    }

    async fn unschedule(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError> {
        self.delete_claimed(claims).await
    }

    async fn scheduled(&self, filter: &JobFilter) -> Result<Vec<ScheduledJob>, EngineError> {
        self.list(filter).await
    }

    async fn find(&self, id: JobId) -> Result<Option<ScheduledJob>, EngineError> {
        self.one(id).await
    }

    async fn scheduled_count(&self, queue: &str) -> Result<u64, EngineError> {
        self.count(queue).await
    }

    async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.purge_queue(queue).await
    }

    async fn reserve(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        self.reserve_keys(keys, now).await
    }

    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError> {
        self.release_keys(ids).await
    }

    async fn note(&self, note: ConsumerNote) -> Result<(), EngineError> {
        self.run(|| self.try_note(&note)).await
    }

    async fn forget_consumer(&self, session: u64) -> Result<(), EngineError> {
        self.run(async || {
            let forget = sqlx::query("DELETE FROM jobs.consumers WHERE session = $1");
            self.database.run(forget.bind(session.cast_signed())).await?;
            Ok(())
        })
        .await
    }

    async fn consumers(&self, queue: &str, since: Timestamp) -> Result<Vec<ConsumerNote>, EngineError> {
        self.run(async || {
            let notes = sqlx::query(NOTES).bind(queue).bind(since.as_millisecond());
            Ok(self.database.rows(notes).await?.iter().map(note).collect())
        })
        .await
    }
}
