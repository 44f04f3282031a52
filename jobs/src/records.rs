//! The log of attempts: telemetry for `inspect`, timelines and dashboards, off the settle path.
//!
//! Guarantees: bounded in memory, written in batches, at most a second late. Does not guarantee completeness: what
//! would slow jobs down is dropped and counted. Nothing may be decided by it. Engines are
//! [`crate::sqlite::SqliteRecords`] and `postgres`, both held to `crate::conformance::records`.

#[cfg(feature = "postgres")]
pub mod postgres;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

#[cfg(feature = "postgres")]
pub use self::postgres::PostgresRecords;
use crate::{engine::EngineError, envelope::JobId};

/// Records listed at once.
pub(crate) const LIST_MAX: u32 = 1000;

/// One finished attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// What it is about.
    pub subject: Option<String>,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The worker that ran it.
    pub worker: String,
    /// First published.
    pub created_at: Timestamp,
    /// Start of this run.
    pub started_at: Timestamp,
    /// Length of this run.
    pub duration: Duration,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why, unless it completed.
    pub error: Option<String>,
    /// Its trace.
    pub trace: Option<TraceContext>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Ran to its end.
    Completed,
    /// Failed; another attempt follows.
    Retried,
    /// Asked for a later time.
    Snoozed,
    /// Ended for good by its own word or a request.
    Cancelled,
    /// Parked.
    Dead,
}

impl AttemptOutcome {
    const ALL: [Self; 5] = [Self::Completed, Self::Retried, Self::Snoozed, Self::Cancelled, Self::Dead];

    /// As it stands in a row.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retried => "retried",
            Self::Snoozed => "snoozed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// Which attempts of a queue are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordLevel {
    /// Every one.
    #[default]
    All,
    /// All but completed ones.
    Failures,
    /// None.
    None,
}

/// Which records to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct RecordFilter {
    /// Only this job.
    pub job: Option<JobId>,
    /// Only this subject.
    pub subject: Option<String>,
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this outcome.
    pub outcome: Option<AttemptOutcome>,
    /// Older than this time.
    pub before: Option<Timestamp>,
    /// At most so many; capped at 1000.
    pub limit: u32,
}

/// Keeps attempt records.
#[async_trait]
pub trait RecordStore: Send + Sync + 'static {
    /// Adds a batch; a record already there (same job, attempt and start) is left alone. Shared, so that one that
    /// failed can be tried once more without a copy of each that did not.
    async fn append(&self, batch: Arc<[AttemptRecord]>) -> Result<(), EngineError>;

    /// Lists records.
    async fn list(&self, filter: &RecordFilter) -> Result<Vec<AttemptRecord>, EngineError>;

    /// Drops records that started before this time, in portions of about `limit`; answers how many, zero when none is
    /// left that can go. One portion may be larger where the engine drops a whole [`Self::expiry_grain`] at once.
    async fn expire(&self, before: Timestamp, limit: u32) -> Result<u64, EngineError>;

    /// How much longer than asked a record may be kept: the stretch of time that the engine drops as a whole.
    fn expiry_grain(&self) -> Duration {
        Duration::ZERO
    }
}
