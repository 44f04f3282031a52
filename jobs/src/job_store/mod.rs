//! The contracts of a job store: the state a broker cannot keep for its jobs, in a relational store beside it.
//!
//! Guarantees of every implementation: each method is one transaction, durable when it returns. Written only for jobs
//! that are scheduled, unique, ordered, cancelled or dead, wait in a fair queue or report something, for pauses,
//! schedules and bulk operations, and every few seconds for the notes of consumers and workers, the age of each backlog
//! and the limits in use; a plain job touches the broker alone. Does not publish: the queue engine does, and deletes a
//! scheduled or dead job only after the broker has confirmed it.
//!
//! Implementations are [`sqlite`] and `postgres`, both tested by `crate::conformance::job_store`; users are the
//! `RabbitMQ` engine and, over any engine, [`crate::schedule`], [`crate::reporter`], [`crate::worker`],
//! [`crate::bulk`] and [`crate::limits`].

mod dead;
mod fair;
mod keys;
mod limits;
mod operations;
mod order;
#[cfg(feature = "postgres")]
pub mod postgres;
mod reports;
mod row;
mod scheduled;
mod schedules;
pub mod sqlite;
mod workers;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use base::{Ambient, ErrorClass, Timestamp};

#[cfg(feature = "postgres")]
pub use self::postgres::PostgresJobStore;
pub use self::{
    dead::{DeadJob, DeadJobs, DeadMessage, DeadPage},
    fair::{Backlog, FAIR_BACKLOG_MAX, FairBacklog, FairQueue, HELD_AT_ONCE_MAX},
    keys::{KEYS_EXPIRED_MAX, KeyRequest, Reservation, UniqueKeys},
    limits::{
        GrantedStarts, LIMIT_KEYS_MAX, LIMITS_EXPIRED_MAX, LIMITS_LISTED_MAX, LeaseWant, LeasedSlots,
        LimitFilter, LimitInUse, PARKED_COUNTED_MAX, PARKED_MAX, ParkedJob, SharedLimits, StartsWant,
        UnusedStarts,
    },
    operations::{OPERATIONS_ENDED_MAX, OPERATIONS_OPEN_MAX, OperationRow, OperationState, Operations},
    order::{LINED_UP_AT_ONCE_MAX, OrderKeys},
    reports::{LogLine, Progress, REPORTS_EXPIRED_MAX, RunReport, RunReports},
    scheduled::{ScheduledJob, ScheduledJobs},
    schedules::{Advance, NewSchedule, SCHEDULES_MAX, ScheduleRow, Schedules, Term},
    sqlite::SqliteJobStore,
    workers::{
        NotedRun, QueueSize, SLOTS_MAX, WORKER_NOTE_KEPT_FOR, WORKER_NOTE_VALID_FOR, WORKER_NOTES_MAX,
        WorkerNote, WorkerNotes,
    },
};
use crate::{
    engine::{EngineError, InspectedJob},
    envelope::JobId,
};

/// Most cancel requests in force at a time; a further one is refused.
pub const CANCELS_MAX: u32 = 10_000;
/// Most jobs named in one note of a consumer.
pub const NOTED_JOBS_MAX: usize = 100;

/// Pauses and cancel requests that consumers carry out.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Raised by every change.
    pub version: i64,
    /// Queues without deliveries.
    pub paused: HashSet<String>,
    /// Jobs to end when they are delivered, with the reason.
    pub cancels: HashMap<JobId, String>,
}

/// Status of a consumer, written every few seconds, for what other processes report.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone)]
pub struct ConsumerNote {
    pub session: u64,
    pub name: String,
    pub queue: String,
    /// Jobs delivered to it and not settled.
    pub running: u64,
    /// Some of these jobs, at most [`NOTED_JOBS_MAX`], those that run first. Their payloads are `null`.
    pub jobs: Vec<InspectedJob>,
    /// Time at which its youngest job had become ready; jobs still waiting are younger.
    pub reached_at: Option<Timestamp>,
    pub at: Timestamp,
}

/// The relational side of a broker's queues, and the schedules, run reports, worker notes, bulk operations and limits
/// of any engine: every type with these contracts is one. All methods may be called concurrently, from several
/// processes.
pub trait JobStore:
    ScheduledJobs
    + DeadJobs
    + FairBacklog
    + UniqueKeys
    + OrderKeys
    + QueueControl
    + ConsumerNotes
    + Schedules
    + RunReports
    + WorkerNotes
    + Operations
    + SharedLimits
{
}

impl<T> JobStore for T where
    T: ScheduledJobs
        + DeadJobs
        + FairBacklog
        + UniqueKeys
        + OrderKeys
        + QueueControl
        + ConsumerNotes
        + Schedules
        + RunReports
        + WorkerNotes
        + Operations
        + SharedLimits
{
}

/// Declared queues, pauses and cancel requests.
#[async_trait]
pub trait QueueControl: Send + Sync + 'static {
    /// Adds declared queues; existing ones are not changed.
    async fn add_queues(&self, names: &[String]) -> Result<(), EngineError>;

    /// Names of the declared queues, sorted by bytes.
    async fn queues(&self) -> Result<Vec<String>, EngineError>;

    /// Sets or clears the pause of a queue; returns false when there is no such queue.
    async fn set_paused(&self, queue: &str, paused: bool) -> Result<bool, EngineError>;

    /// Notes that no ready job of a queue is older than this; an earlier time is ignored, as is one that is hardly
    /// later, so that processes that watch the same idle queue do not all write.
    async fn raise_reached(&self, queue: &str, at: Timestamp) -> Result<(), EngineError>;

    /// The latest time of [`Self::raise_reached`].
    async fn reached_at(&self, queue: &str) -> Result<Option<Timestamp>, EngineError>;

    /// [`Control::version`] alone, by a cheap read.
    async fn control_version(&self) -> Result<i64, EngineError>;

    /// Pauses and cancel requests in force.
    async fn control(&self) -> Result<Control, EngineError>;

    /// Deletes cancel requests that were carried out or are obsolete.
    async fn forget_cancels(&self, ids: &[JobId]) -> Result<(), EngineError>;

    /// Deletes cancel requests and consumer notes older than these times.
    async fn expire(&self, cancels_before: Timestamp, notes_before: Timestamp) -> Result<(), EngineError>;
}

/// Notes of consumers.
#[async_trait]
pub trait ConsumerNotes: Send + Sync + 'static {
    /// Stores a consumer's note in place of its previous one.
    async fn note(&self, note: ConsumerNote) -> Result<(), EngineError>;

    /// Deletes the note of a consumer that has left.
    async fn forget_consumer(&self, session: u64) -> Result<(), EngineError>;

    /// Notes of a queue's consumers that are not older than `since`.
    async fn consumers(&self, queue: &str, since: Timestamp) -> Result<Vec<ConsumerNote>, EngineError>;
}

/// Least step of [`QueueControl::raise_reached`], in milliseconds.
const REACHED_STEP_MS: i64 = 2_000;

/// Refusal of a cancel request beyond [`CANCELS_MAX`].
fn too_many_cancels() -> EngineError {
    let why = format!(
        "{CANCELS_MAX} cancel requests wait for their jobs to be delivered; a request ends with its job or after a week"
    );
    EngineError::new(ErrorClass::Busy, "job store", why)
}

/// A random claim id, never zero.
fn draw_claim(ambient: &Ambient) -> i64 {
    let mut bytes = [0; 8];
    ambient.fill(&mut bytes);
    i64::from_le_bytes(bytes) | 1
}
