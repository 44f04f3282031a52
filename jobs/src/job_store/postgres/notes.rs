//! Notes of consumers.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Row, postgres::PgRow};

use super::{PostgresJobStore, engine_error};
use crate::{
    engine::EngineError,
    job_store::{ConsumerNote, ConsumerNotes, row::time},
    postgres::text,
};

pub(super) const NOTES: &str = "
    SELECT session, name, queue, running, reached_at, noted_at, jobs FROM jobs.consumers
    WHERE queue = $1 AND noted_at >= $2 ORDER BY name COLLATE \"C\", session";
const NOTE: &str = "
    INSERT INTO jobs.consumers (session, name, queue, running, reached_at, noted_at, jobs)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (session) DO UPDATE SET name = EXCLUDED.name, queue = EXCLUDED.queue, running = EXCLUDED.running,
      reached_at = EXCLUDED.reached_at, noted_at = EXCLUDED.noted_at, jobs = EXCLUDED.jobs";

#[async_trait]
impl ConsumerNotes for PostgresJobStore {
    async fn note(&self, note: ConsumerNote) -> Result<(), EngineError> {
        let jobs = serde_json::to_string(&note.jobs).map_err(engine_error)?;
        self.execute(|| {
            let keep = sqlx::query(NOTE).bind(note.session.cast_signed()).bind(text(&note.name));
            let keep = keep.bind(text(&note.queue)).bind(i64::try_from(note.running).unwrap_or(i64::MAX));
            let keep = keep.bind(note.reached_at.map(Timestamp::as_millisecond));
            keep.bind(note.at.as_millisecond()).bind(&jobs)
        })
        .await
    }

    async fn forget_consumer(&self, session: u64) -> Result<(), EngineError> {
        let forget = "DELETE FROM jobs.consumers WHERE session = $1";
        self.execute(|| sqlx::query(forget).bind(session.cast_signed())).await
    }

    async fn consumers(&self, queue: &str, since: Timestamp) -> Result<Vec<ConsumerNote>, EngineError> {
        let rows = self.rows(|| sqlx::query(NOTES).bind(queue).bind(since.as_millisecond())).await?;
        Ok(rows.iter().map(note).collect())
    }
}

fn note(row: &PgRow) -> ConsumerNote {
    ConsumerNote {
        session: row.get::<i64, _>("session").cast_unsigned(),
        name: row.get("name"),
        queue: row.get("queue"),
        running: u64::try_from(row.get::<i64, _>("running")).unwrap_or(0),
        // Empty for the note of a release that writes another form.
        jobs: serde_json::from_str(row.get("jobs")).unwrap_or_default(),
        reached_at: row.get::<Option<i64>, _>("reached_at").map(time),
        at: time(row.get("noted_at")),
    }
}
