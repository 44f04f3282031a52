//! Queues, pauses, cancel requests and consumer notes; and the [`JobStore`] implementation.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::{JobStoreFault, SqliteJobStore, ids_json, row};
use crate::{
    engine::{EngineError, JobFilter},
    envelope::JobId,
    job_store::{CANCELS_MAX, ConsumerNote, Control, JobStore, ScheduledJob},
};

async fn raise_version(c: &mut SqliteConnection) -> Result<(), JobStoreFault> {
    sqlx::query("UPDATE control SET version = version + 1").execute(c).await?;
    Ok(())
}

#[async_trait]
impl JobStore for SqliteJobStore {
    async fn add_queues(&self, names: &[String]) -> Result<(), EngineError> {
        let json = serde_json::Value::from(names.to_vec()).to_string();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("INSERT OR IGNORE INTO queues (name) SELECT value FROM json_each(?1)")
                    .bind(json)
                    .execute(c)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        let names = sqlx::query_scalar("SELECT name FROM queues ORDER BY name");
        Ok(names.fetch_all(self.database.readers()).await.map_err(JobStoreFault::Sql)?)
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

    async fn control_version(&self) -> Result<i64, EngineError> {
        let version = sqlx::query_scalar("SELECT version FROM control");
        Ok(version.fetch_one(self.database.readers()).await.map_err(JobStoreFault::Sql)?)
    }

    async fn control(&self) -> Result<Control, EngineError> {
        // The version is read first: a change between the statements then shows as a newer version at the next check.
        let version = self.control_version().await?;
        let readers = self.database.readers();
        let paused = sqlx::query_scalar("SELECT name FROM queues WHERE paused = 1");
        let paused: Vec<String> = paused.fetch_all(readers).await.map_err(JobStoreFault::Sql)?;
        let cancels =
            sqlx::query("SELECT job, reason FROM cancel_requests ORDER BY requested_at DESC LIMIT ?1");
        let cancels = cancels.bind(CANCELS_MAX).fetch_all(readers).await.map_err(JobStoreFault::Sql)?;
        let cancels = cancels
            .iter()
            .filter_map(|row| Some((row.get::<String, _>("job").parse().ok()?, row.get("reason"))))
            .collect();
        Ok(Control { version, paused: paused.into_iter().collect(), cancels })
    }

    async fn cancel(&self, id: JobId, reason: &str, now: Timestamp) -> Result<bool, EngineError> {
        let (id, reason, now) = (id.to_string(), reason.to_owned(), now.as_millisecond());
        self.write(move |c| Box::pin(cancel(c, id, reason, now))).await
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

    async fn schedule(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        self.insert(jobs).await
    }

    async fn claim_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        self.claim_due_jobs(now, until, limit).await
    }

    async fn claim(
        &self,
        id: JobId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ScheduledJob>, EngineError> {
        self.claim_one(id, now, until).await
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
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM scheduled WHERE queue = ?1");
        let count = count.bind(queue).fetch_one(self.database.readers()).await.map_err(JobStoreFault::Sql)?;
        Ok(u64::try_from(count).unwrap_or(0))
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
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT OR REPLACE INTO consumers (session, name, queue, running, reached_at, noted_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .bind(note.session.to_string())
                .bind(note.name)
                .bind(note.queue)
                .bind(i64::try_from(note.running).unwrap_or(i64::MAX))
                .bind(note.reached_at.map(Timestamp::as_millisecond))
                .bind(note.at.as_millisecond())
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn forget_consumer(&self, session: u64) -> Result<(), EngineError> {
        self.write(move |c| {
            Box::pin(async move {
                let forget = sqlx::query("DELETE FROM consumers WHERE session = ?1");
                forget.bind(session.to_string()).execute(c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn consumers(&self, queue: &str, since: Timestamp) -> Result<Vec<ConsumerNote>, EngineError> {
        let notes = sqlx::query(
            "SELECT session, name, queue, running, reached_at, noted_at FROM consumers
             WHERE queue = ?1 AND noted_at >= ?2 ORDER BY name, session",
        );
        let notes = notes.bind(queue).bind(since.as_millisecond()).fetch_all(self.database.readers());
        let note = |row: &sqlx::sqlite::SqliteRow| ConsumerNote {
            session: row.get::<String, _>("session").parse().unwrap_or(0),
            name: row.get("name"),
            queue: row.get("queue"),
            running: u64::try_from(row.get::<i64, _>("running")).unwrap_or(0),
            reached_at: row.get::<Option<i64>, _>("reached_at").map(row::time),
            at: row::time(row.get("noted_at")),
        };
        Ok(notes.await.map_err(JobStoreFault::Sql)?.iter().map(note).collect())
    }
}

/// A job that is being published has a live claim: it gets a cancel request, which its consumer carries out.
async fn cancel(
    c: &mut SqliteConnection,
    id: String,
    reason: String,
    now: i64,
) -> Result<bool, JobStoreFault> {
    let removed = sqlx::query("DELETE FROM scheduled WHERE id = ?1 AND claimed_until <= ?2");
    if removed.bind(&id).bind(now).execute(&mut *c).await?.rows_affected() > 0 {
        sqlx::query("DELETE FROM unique_keys WHERE job = ?1").bind(&id).execute(c).await?;
        return Ok(true);
    }
    sqlx::query("INSERT OR REPLACE INTO cancel_requests (job, reason, requested_at) VALUES (?1, ?2, ?3)")
        .bind(&id)
        .bind(reason)
        .bind(now)
        .execute(&mut *c)
        .await?;
    raise_version(c).await?;
    Ok(false)
}
