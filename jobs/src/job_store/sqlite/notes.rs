//! Notes of consumers.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::Row;

use super::{SqliteJobStore, engine_error};
use crate::{
    engine::EngineError,
    job_store::{ConsumerNote, ConsumerNotes, row::time},
};

#[async_trait]
impl ConsumerNotes for SqliteJobStore {
    async fn note(&self, note: ConsumerNote) -> Result<(), EngineError> {
        let jobs = serde_json::to_string(&note.jobs).map_err(engine_error)?;
        let keep = sqlx::query(
            "INSERT OR REPLACE INTO consumers (session, name, queue, running, reached_at, noted_at, jobs)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        );
        let keep = keep.bind(note.session.to_string()).bind(note.name).bind(note.queue);
        let keep = keep.bind(i64::try_from(note.running).unwrap_or(i64::MAX));
        let keep = keep.bind(note.reached_at.map(Timestamp::as_millisecond)).bind(note.at.as_millisecond());
        self.execute(keep.bind(jobs)).await
    }

    async fn forget_consumer(&self, session: u64) -> Result<(), EngineError> {
        let forget = sqlx::query("DELETE FROM consumers WHERE session = ?1");
        self.execute(forget.bind(session.to_string())).await
    }

    async fn consumers(&self, queue: &str, since: Timestamp) -> Result<Vec<ConsumerNote>, EngineError> {
        let notes = sqlx::query(
            "SELECT session, name, queue, running, reached_at, noted_at, jobs FROM consumers
             WHERE queue = ?1 AND noted_at >= ?2 ORDER BY name, session",
        );
        let notes = notes.bind(queue).bind(since.as_millisecond()).fetch_all(self.database.readers());
        let note = |row: &sqlx::sqlite::SqliteRow| ConsumerNote {
            session: row.get::<String, _>("session").parse().unwrap_or(0),
            name: row.get("name"),
            queue: row.get("queue"),
            running: u64::try_from(row.get::<i64, _>("running")).unwrap_or(0),
            // Empty for the note of a release that writes another form.
            jobs: serde_json::from_str(row.get("jobs")).unwrap_or_default(),
            reached_at: row.get::<Option<i64>, _>("reached_at").map(time),
            at: time(row.get("noted_at")),
        };
        Ok(notes.await.map_err(engine_error)?.iter().map(note).collect())
    }
}
