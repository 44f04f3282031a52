//! The log of attempts: telemetry for `inspect`, timelines and dashboards, off the settle path.
//!
//! Guarantees: bounded in memory, written in batches, at most a second late. Does not guarantee completeness: what
//! would slow jobs down is dropped and counted. Nothing may be decided by it.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

use crate::{engine::EngineError, envelope::JobId};

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
    pub outcome: Outcome,
    /// Why, unless it completed.
    pub error: Option<String>,
    /// Its trace.
    pub trace: Option<TraceContext>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
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
    pub outcome: Option<Outcome>,
    /// Older than this time.
    pub before: Option<Timestamp>,
    /// At most so many; capped at 1000.
    pub limit: u32,
}

/// Keeps attempt records.
#[async_trait]
pub trait RecordStore: Send + Sync + 'static {
    /// Adds a batch; a record already there (same job, attempt and start) is left alone.
    async fn append(&self, batch: Vec<AttemptRecord>) -> Result<(), EngineError>;

    /// Lists records.
    async fn list(&self, filter: &RecordFilter) -> Result<Vec<AttemptRecord>, EngineError>;

    /// Drops records that started before this time, at most `limit` in one go; answers how many.
    async fn expire(&self, before: Timestamp, limit: u32) -> Result<u64, EngineError>;
}
