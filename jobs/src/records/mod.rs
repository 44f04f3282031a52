//! The log of attempts: telemetry for `inspect`, timelines and audits, off the settle path.
//!
//! Guarantees: bounded in memory, written in batches, at most a second late. Does not guarantee completeness: records
//! that would slow jobs down are dropped and counted. Decide nothing by them that a repetition does not put right.
//! Engines are [`crate::sqlite::SqliteRecords`] and `postgres`; both pass the suite `crate::conformance::records`.

#[cfg(feature = "postgres")]
pub mod postgres;
pub(crate) mod row;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

#[cfg(feature = "postgres")]
pub use self::postgres::PostgresRecords;
use crate::{engine::EngineError, envelope::JobId};

/// One finished attempt.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    pub job: JobId,
    pub kind: String,
    pub queue: String,
    pub subject: Option<String>,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Name of the worker process that ran it.
    pub worker: String,
    /// Time of the job's first publish.
    pub created_at: Timestamp,
    pub started_at: Timestamp,
    pub duration: Duration,
    pub outcome: AttemptOutcome,
    /// Error text; absent when the run returned `Ok`.
    pub error: Option<String>,
    pub trace: Option<TraceContext>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Returned `Ok`.
    Completed,
    /// Failed; another attempt follows.
    Retried,
    /// Snoozed: runs again later without having used an attempt.
    Snoozed,
    /// Ended for good by the job itself or by a cancel request.
    Cancelled,
    /// Sent to the dead queue.
    Dead,
    /// Ended in any way after its lease, or that of its limit, was lost: without effect on the job, which runs again.
    Stale,
}

crate::names::names!(AttemptOutcome {
    Completed: "completed",
    Retried: "retried",
    Snoozed: "snoozed",
    Cancelled: "cancelled",
    Dead: "dead",
    Stale: "stale"
});

/// Which attempts of a queue are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordLevel {
    /// Every attempt.
    #[default]
    All,
    /// All attempts but completed ones.
    Failures,
    /// No attempt.
    None,
}

/// Conditions of a listing, all of which must hold; newest records first.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Default)]
pub struct RecordFilter {
    pub job: Option<JobId>,
    pub subject: Option<String>,
    pub queue: Option<String>,
    pub kind: Option<String>,
    pub outcome: Option<AttemptOutcome>,
    /// Only attempts that started before this time.
    pub before: Option<Timestamp>,
    /// Most records returned; capped at 1000.
    pub limit: u32,
}

/// Storage of attempt records.
#[async_trait]
pub trait RecordStore: Send + Sync + 'static {
    /// Adds a batch; a record that exists already (same job, attempt and start) is left unchanged. The batch is shared
    /// so that a failed call can be repeated without copying each batch in advance.
    async fn append(&self, batch: Arc<[AttemptRecord]>) -> Result<(), EngineError>;

    /// Lists records, newest first.
    async fn list(&self, filter: &RecordFilter) -> Result<Vec<AttemptRecord>, EngineError>;

    /// Drops records that started before this time, in portions of about `limit`; returns how many were dropped, zero
    /// when none is left to drop. One portion may be larger where the engine drops a whole [`Self::expiry_grain`] at
    /// once.
    async fn expire(&self, before: Timestamp, limit: u32) -> Result<u64, EngineError>;

    /// Span of time that the engine drops as a whole: a record may be kept this much longer than asked.
    fn expiry_grain(&self) -> Duration {
        Duration::ZERO
    }
}
