//! Notes of worker processes, and sizes of their queues.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::Row;

use super::{PostgresJobStore, engine_error};
use crate::{
    engine::EngineError,
    job_store::{QueueSize, WORKER_NOTES_MAX, WorkerNote, WorkerNotes, row::size},
    postgres::{column, text},
};

const NOTE: &str = "
    INSERT INTO jobs.worker_notes (worker, queue, noted_at, note)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
    ON CONFLICT (worker, queue) DO UPDATE SET noted_at = EXCLUDED.noted_at, note = EXCLUDED.note";
const NOTES: &str = "
    SELECT note FROM jobs.worker_notes WHERE noted_at >= $1
    ORDER BY worker COLLATE \"C\", queue COLLATE \"C\" LIMIT $2";
const FORGET: &str = "DELETE FROM jobs.worker_notes WHERE worker = $1 AND queue = ANY($2)";
const EXPIRE: &str = "
    WITH expired AS (DELETE FROM jobs.worker_notes WHERE noted_at < $1)
    DELETE FROM jobs.queue_sizes WHERE worker <> ''
      AND worker NOT IN (SELECT worker FROM jobs.worker_notes WHERE noted_at >= $1)";
const SET: &str = "
    INSERT INTO jobs.queue_sizes (queue, worker, slots) VALUES ($1, $2, $3)
    ON CONFLICT (queue, worker) DO UPDATE SET slots = EXCLUDED.slots";
const END: &str = "DELETE FROM jobs.queue_sizes WHERE queue = $1 AND worker = $2";
const SIZES: &str = "
    SELECT queue, worker, slots FROM jobs.queue_sizes
    ORDER BY queue COLLATE \"C\", worker COLLATE \"C\" LIMIT $1";

#[async_trait]
impl WorkerNotes for PostgresJobStore {
    async fn note_workers(&self, mut notes: Vec<WorkerNote>) -> Result<(), EngineError> {
        // Processes then lock rows in one order.
        notes.sort_by(|one, other| (&one.worker, &one.queue).cmp(&(&other.worker, &other.queue)));
        let workers: Vec<String> = column(&notes, |note| text(&note.worker).into_owned());
        let queues: Vec<String> = column(&notes, |note| text(&note.queue).into_owned());
        let times: Vec<i64> = column(&notes, |note| note.noted_at.as_millisecond());
        let texts = notes.iter().map(serde_json::to_string);
        let texts: Vec<String> = texts.collect::<Result<_, _>>().map_err(engine_error)?;
        self.execute(|| sqlx::query(NOTE).bind(&workers).bind(&queues).bind(&times).bind(&texts)).await
    }

    async fn worker_notes(&self, since: Timestamp) -> Result<Vec<WorkerNote>, EngineError> {
        let (since, limit) = (since.as_millisecond(), i64::from(WORKER_NOTES_MAX));
        let rows = self.rows(|| sqlx::query(NOTES).bind(since).bind(limit)).await?;
        Ok(rows.iter().filter_map(|row| serde_json::from_str(row.get("note")).ok()).collect())
    }

    async fn forget_worker(&self, worker: &str, queues: &[String]) -> Result<(), EngineError> {
        self.execute(|| sqlx::query(FORGET).bind(text(worker)).bind(queues)).await
    }

    async fn expire_workers(&self, before: Timestamp) -> Result<(), EngineError> {
        self.execute(|| sqlx::query(EXPIRE).bind(before.as_millisecond())).await
    }

    async fn set_size(
        &self,
        queue: &str,
        worker: Option<&str>,
        slots: Option<u32>,
    ) -> Result<(), EngineError> {
        let (queue, worker) = (text(queue), text(worker.unwrap_or_default()));
        self.execute(|| {
            let statement = sqlx::query(if slots.is_some() { SET } else { END });
            let statement = statement.bind(&*queue).bind(&*worker);
            match slots {
                Some(slots) => statement.bind(i64::from(slots)),
                None => statement,
            }
        })
        .await
    }

    async fn sizes(&self) -> Result<Vec<QueueSize>, EngineError> {
        let rows = self.rows(|| sqlx::query(SIZES).bind(i64::from(WORKER_NOTES_MAX))).await?;
        Ok(rows.iter().map(|row| size(row.get("queue"), row.get("worker"), row.get("slots"))).collect())
    }
}
