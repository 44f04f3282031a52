//! What a broker cannot do for its jobs, kept in a relational store beside it.
//!
//! Guarantees asked of every engine: each method is one transaction, durable when it returns. Written to only for
//! jobs that are scheduled, unique or cancelled, for pauses, and for a note per consumer every few seconds; a plain
//! job touches the broker alone. Does not publish: that is the queue engine's part, which deletes a scheduled job
//! only after the broker has confirmed it.
//!
//! Read on in [`sqlite`] and `postgres`; `crate::conformance::job_store` is what both are held to; the user of all this is the `RabbitMQ` engine.

#[cfg(feature = "postgres")]
pub mod postgres;
pub mod sqlite;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use base::Timestamp;

#[cfg(feature = "postgres")]
pub use self::postgres::PostgresJobStore;
pub use self::sqlite::SqliteJobStore;
use crate::{
    engine::{EngineError, JobFilter},
    envelope::{Envelope, JobId},
};

/// Cancel requests in force at a time; the newest count.
pub const CANCELS_MAX: u32 = 10_000;
/// Jobs listed in one go.
const LIST_MAX: u32 = 1000;

/// A job that waits for its time outside of the broker.
#[derive(Debug, Clone)]
pub struct ScheduledJob {
    /// The job.
    pub envelope: Envelope,
    /// Not to be published before.
    pub due_at: Timestamp,
    /// How often it lost its consumer.
    pub crashes: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// When it failed first.
    pub first_failed_at: Option<Timestamp>,
    /// Names the claim under which it was handed out; see [`JobStore::unschedule`].
    pub claim: i64,
}

/// What consumers must obey.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Raised by every change.
    pub version: i64,
    /// Queues that hand out nothing.
    pub paused: HashSet<String>,
    /// Jobs to end when they are met, with the reason.
    pub cancels: HashMap<JobId, String>,
}

/// What a consumer says of itself every few seconds, for the depth that other processes see.
#[derive(Debug, Clone)]
pub struct ConsumerNote {
    /// The consumer.
    pub session: u64,
    /// How it calls itself.
    pub name: String,
    /// Its queue.
    pub queue: String,
    /// Jobs it holds.
    pub running: u64,
    /// When the youngest job it got had become ready; what still waits is younger.
    pub reached_at: Option<Timestamp>,
    /// When it said so.
    pub at: Timestamp,
}

/// The relational side of a broker's queues. All methods may be called from many tasks and processes at once.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Remembers queues as declared; known ones are left alone.
    async fn add_queues(&self, names: &[String]) -> Result<(), EngineError>;

    /// The declared queues, by name.
    async fn queues(&self) -> Result<Vec<String>, EngineError>;

    /// Pauses or resumes; false when there is no such queue.
    async fn set_paused(&self, queue: &str, paused: bool) -> Result<bool, EngineError>;

    /// [`Control::version`] alone, which is cheap.
    async fn control_version(&self) -> Result<i64, EngineError>;

    /// Pauses and cancel requests in force.
    async fn control(&self) -> Result<Control, EngineError>;

    /// Ends a scheduled job at once (true), its unique key freed, or else stores a request (false).
    async fn cancel(&self, id: JobId, reason: &str, now: Timestamp) -> Result<bool, EngineError>;

    /// Forgets requests that were carried out or overtaken.
    async fn forget_cancels(&self, ids: &[JobId]) -> Result<(), EngineError>;

    /// Forgets requests that no job came for, and notes of consumers not heard of since.
    async fn expire(&self, cancels_before: Timestamp, notes_before: Timestamp) -> Result<(), EngineError>;

    /// Stores jobs, instead of rows with the same ids.
    async fn schedule(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError>;

    /// Claims up to `limit` jobs that are due, oldest first; unless unscheduled they are due again at `until`.
    async fn claim_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError>;

    /// Claims one job, due or not.
    async fn claim(
        &self,
        id: JobId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ScheduledJob>, EngineError>;

    /// Deletes jobs that were published, each under its claim.
    async fn unschedule(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError>;

    /// Lists scheduled jobs by id; [`JobFilter::state`] is ignored.
    async fn scheduled(&self, filter: &JobFilter) -> Result<Vec<ScheduledJob>, EngineError>;

    /// One scheduled job.
    async fn find(&self, id: JobId) -> Result<Option<ScheduledJob>, EngineError>;

    /// How many jobs of a queue are scheduled.
    async fn scheduled_count(&self, queue: &str) -> Result<u64, EngineError>;

    /// Deletes the scheduled jobs of a queue and frees all unique keys of the queue. Answers how many jobs.
    async fn purge(&self, queue: &str) -> Result<u64, EngineError>;

    /// Reserves unique keys; answers for each the other job that holds it, if there is one.
    async fn reserve(
        &self,
        keys: Vec<(String, String, JobId)>,
        now: Timestamp,
    ) -> Result<Vec<Option<JobId>>, EngineError>;

    /// Frees the unique keys of jobs that ended.
    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError>;

    /// Keeps a consumer's note instead of its last one.
    async fn note(&self, note: ConsumerNote) -> Result<(), EngineError>;

    /// Forgets a consumer that is gone.
    async fn forget_consumer(&self, session: u64) -> Result<(), EngineError>;

    /// The consumers of a queue heard of since.
    async fn consumers(&self, queue: &str, since: Timestamp) -> Result<Vec<ConsumerNote>, EngineError>;
}

/// The first millisecond that is not before `at`.
fn ceil_ms(at: Timestamp) -> i64 {
    let millis = at.as_millisecond();
    if at.as_nanosecond() > i128::from(millis) * 1_000_000 { millis + 1 } else { millis }
}
