//! The contract of worker notes: what the worker processes of any engine tell of themselves, and the sizes that an
//! operator gives their queues.
//!
//! Guarantees of every implementation: as for [`super`]; one note a process and queue, the last one; one size a queue
//! for all processes, and one for each process by name. Decides nothing: workers read the sizes and write the notes.

use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::NOTED_JOBS_MAX;
use crate::{engine::EngineError, envelope::JobId};

/// Most jobs of a queue that an operator lets a process run at a time.
pub const SLOTS_MAX: u32 = 1000;
/// Most notes and most sizes returned by one call.
pub const WORKER_NOTES_MAX: u32 = 1000;
/// Age at which a note is taken for that of a dead process; each is written every ten seconds at least.
pub const WORKER_NOTE_VALID_FOR: Duration = Duration::from_secs(45);
/// Age at which workers delete notes. Until then that of a dead process tells that it was lost: an orderly stop deletes
/// its notes.
pub const WORKER_NOTE_KEPT_FOR: Duration = Duration::from_hours(1);

/// What a worker process tells of one of its queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerNote {
    /// [`Workers::name`](crate::Workers::name) of the process.
    pub worker: String,
    /// The queue.
    pub queue: String,
    /// Version of the program.
    pub release: String,
    /// Start of the process's workers.
    pub started_at: Timestamp,
    /// Time of the note. All times are on the clock of the process.
    pub noted_at: Timestamp,
    /// Jobs that it runs at a time.
    pub slots: u32,
    /// Jobs that it runs now; for a while more than the slots, where these have become fewer.
    pub used: u32,
    /// Slots by its configuration.
    pub configured: u32,
    /// Last contact of its consumer with the engine's server or file; `None` without a consumer.
    pub contact_at: Option<Timestamp>,
    /// Reason for which it does not consume, or not without trouble, in one line.
    pub trouble: Option<String>,
    /// Jobs that it runs, those that run longest, at most [`NOTED_JOBS_MAX`].
    #[serde(default)]
    pub runs: Vec<NotedRun>,
    /// Runs that have ended since the start, without released ones; zero in the note of a release that counts none.
    #[serde(default)]
    pub ended: u64,
    /// Time that these runs took together, in milliseconds.
    #[serde(default)]
    pub busy_ms: u64,
    /// Whether it does not consume because its gate is closed: what its jobs need is known to fail.
    #[serde(default)]
    pub held_back: bool,
}

/// A job that a worker process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedRun {
    /// The job.
    pub job: JobId,
    /// Time at which its run was noticed, about a second after its start at most.
    pub since: Timestamp,
}

/// The size that an operator has given a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSize {
    /// The queue.
    pub queue: String,
    /// The process, by name; `None` for all that have no size of their own.
    pub worker: Option<String>,
    /// Jobs that a process runs at a time, 1 to [`SLOTS_MAX`].
    pub slots: u32,
}

/// Notes of worker processes, and sizes of their queues.
#[async_trait]
pub trait WorkerNotes: Send + Sync + 'static {
    /// Stores notes in place of those of the same processes and queues, each at most once.
    async fn note_workers(&self, notes: Vec<WorkerNote>) -> Result<(), EngineError>;

    /// Notes not older than `since`, by process and queue, [`WORKER_NOTES_MAX`] at most. One that another release has
    /// written and this one cannot read is left out.
    async fn worker_notes(&self, since: Timestamp) -> Result<Vec<WorkerNote>, EngineError>;

    /// Deletes the notes of a process about these queues.
    async fn forget_worker(&self, worker: &str, queues: &[String]) -> Result<(), EngineError>;

    /// Deletes notes older than this, and the sizes that name a process without any note.
    async fn expire_workers(&self, before: Timestamp) -> Result<(), EngineError>;

    /// Sets the size of a queue, or ends it with `None`: in one process, by name, or in all others.
    async fn set_size(
        &self,
        queue: &str,
        worker: Option<&str>,
        slots: Option<u32>,
    ) -> Result<(), EngineError>;

    /// All sizes, by queue and process, [`WORKER_NOTES_MAX`] at most.
    async fn sizes(&self) -> Result<Vec<QueueSize>, EngineError>;
}
