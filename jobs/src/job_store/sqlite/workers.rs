//! Notes of worker processes, and sizes of their queues.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::Row;

use super::{SqliteJobStore, engine_error};
use crate::{
    engine::EngineError,
    job_store::{QueueSize, WORKER_NOTES_MAX, WorkerNote, WorkerNotes, row::size},
};

const NOTE: &str =
    "INSERT OR REPLACE INTO worker_notes (worker, queue, noted_at, note) VALUES (?1, ?2, ?3, ?4)";
const SET: &str = "INSERT OR REPLACE INTO queue_sizes (queue, worker, slots) VALUES (?1, ?2, ?3)";
const END: &str = "DELETE FROM queue_sizes WHERE queue = ?1 AND worker = ?2";
const EXPIRE_SIZES: &str = "DELETE FROM queue_sizes
    WHERE worker <> '' AND worker NOT IN (SELECT worker FROM worker_notes)";

#[async_trait]
impl WorkerNotes for SqliteJobStore {
    async fn note_workers(&self, notes: Vec<WorkerNote>) -> Result<(), EngineError> {
        let mut rows = Vec::with_capacity(notes.len());
        for note in notes {
            let text = serde_json::to_string(&note).map_err(engine_error)?;
            rows.push((note.worker, note.queue, note.noted_at.as_millisecond(), text));
        }
        self.write(move |c| {
            Box::pin(async move {
                for (worker, queue, noted_at, text) in rows {
                    let note = sqlx::query(NOTE).bind(worker).bind(queue).bind(noted_at).bind(text);
                    note.execute(&mut *c).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn worker_notes(&self, since: Timestamp) -> Result<Vec<WorkerNote>, EngineError> {
        let notes = sqlx::query_scalar(
            "SELECT note FROM worker_notes WHERE noted_at >= ?1 ORDER BY worker, queue LIMIT ?2",
        );
        let notes = notes.bind(since.as_millisecond()).bind(WORKER_NOTES_MAX);
        let rows: Vec<String> = notes.fetch_all(self.database.readers()).await.map_err(engine_error)?;
        Ok(rows.iter().filter_map(|note| serde_json::from_str(note).ok()).collect())
    }

    async fn forget_worker(&self, worker: &str, queues: &[String]) -> Result<(), EngineError> {
        let forget = sqlx::query(
            "DELETE FROM worker_notes WHERE worker = ?1 AND queue IN (SELECT value FROM json_each(?2))",
        );
        let queues = serde_json::to_string(queues).map_err(engine_error)?;
        self.execute(forget.bind(worker.to_owned()).bind(queues)).await
    }

    async fn expire_workers(&self, before: Timestamp) -> Result<(), EngineError> {
        let before = before.as_millisecond();
        self.write(move |c| {
            Box::pin(async move {
                let expire = sqlx::query("DELETE FROM worker_notes WHERE noted_at < ?1").bind(before);
                expire.execute(&mut *c).await?;
                sqlx::query(EXPIRE_SIZES).execute(&mut *c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn set_size(
        &self,
        queue: &str,
        worker: Option<&str>,
        slots: Option<u32>,
    ) -> Result<(), EngineError> {
        let (queue, worker) = (queue.to_owned(), worker.unwrap_or_default().to_owned());
        self.execute(match slots {
            Some(slots) => sqlx::query(SET).bind(queue).bind(worker).bind(slots),
            None => sqlx::query(END).bind(queue).bind(worker),
        })
        .await
    }

    async fn sizes(&self) -> Result<Vec<QueueSize>, EngineError> {
        let sizes =
            sqlx::query("SELECT queue, worker, slots FROM queue_sizes ORDER BY queue, worker LIMIT ?1");
        let rows = sizes.bind(WORKER_NOTES_MAX).fetch_all(self.database.readers()).await;
        let row = |row: &sqlx::sqlite::SqliteRow| size(row.get("queue"), row.get("worker"), row.get("slots"));
        Ok(rows.map_err(engine_error)?.iter().map(row).collect())
    }
}
