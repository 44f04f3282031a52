//! Inspection types of an engine: queue depths, consumers, and held jobs with their filters.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::DeadReason;
use crate::envelope::{Envelope, JobId};

/// Numbers of jobs in a queue, by state. May lag; `RabbitMQ` counts are those of its last statistics.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Depth {
    pub queue: String,
    /// Jobs that may start now.
    pub ready: u64,
    /// Jobs that may not start yet, those behind another one of their [order key](crate::Job::order_key) included;
    /// without [`Admin::short_delays`](super::Admin::short_delays).
    pub delayed: u64,
    /// Jobs delivered and not settled.
    pub running: u64,
    pub dead: u64,
    /// Time at which the oldest ready job became ready; the signal for scaling workers. `RabbitMQ`: a time shortly
    /// before, at most.
    pub oldest_ready_at: Option<Timestamp>,
    pub paused: bool,
}

/// A consumer as seen by other processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsumerInfo {
    /// [`ConsumeOptions::name`](super::ConsumeOptions::name).
    pub name: String,
    /// The queue it consumes.
    pub queue: String,
    /// Jobs delivered to it and not settled, prefetched ones included.
    pub jobs: u64,
    /// Last heartbeat or end of its lease, whichever is later.
    pub alive_until: Timestamp,
}

/// State of a held job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It may start now.
    Ready,
    /// Its earliest start is in the future, or another job of its [order key](crate::Job::order_key) is before it.
    Delayed,
    /// Delivered and not settled.
    Running,
    /// In the dead queue.
    Dead,
}

crate::names::names!(JobState { Ready: "ready", Delayed: "delayed", Running: "running", Dead: "dead" });

/// A job as stored by an engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InspectedJob {
    /// The job; for a message that cannot be decoded, a substitute envelope of kind `""` with its bytes, or the first
    /// of them, as a string. The payload is `null` where another process holds the job and has noted the rest. Of a
    /// delayed job, `run_at` is the time at which it is due, also after a retry.
    pub envelope: Envelope,
    /// State of the job.
    pub state: JobState,
    /// Consumers it has lost.
    pub crashes: u32,
    /// Error text of the last failure.
    pub last_error: Option<String>,
    /// Of a job that waits behind another one of its [order key](crate::Job::order_key): the one that holds the key,
    /// running or waiting for its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<JobId>,
    /// Present for a dead job.
    pub dead: Option<DeadInfo>,
}

/// Circumstances of a job's move to the dead queue.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadInfo {
    pub reason: DeadReason,
    pub first_failed_at: Timestamp,
    pub died_at: Timestamp,
}

/// Conditions of a job listing, all of which must hold.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub queue: Option<String>,
    pub state: Option<JobState>,
    pub kind: Option<String>,
    /// Page start: only jobs after this one in the order of the listing.
    pub after: Option<JobId>,
    /// Most jobs returned; engines cap it at 1000.
    pub limit: u32,
}

/// Conditions on dead jobs, all of which must hold.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    /// Only this job.
    pub id: Option<JobId>,
    pub queue: Option<String>,
    pub kind: Option<String>,
    pub reason: Option<DeadReason>,
    /// Only jobs whose last error contains this text.
    pub error_contains: Option<String>,
    /// Only jobs that died at or after this time.
    pub since: Option<Timestamp>,
    /// Only jobs that died before this time: a job that dies again after it is not found a second time.
    pub died_before: Option<Timestamp>,
    /// Page start: only jobs after this one, by id.
    pub after: Option<JobId>,
    pub limit: u32,
    /// Change nothing, tell what would be changed.
    pub dry_run: bool,
}

impl DeadFilter {
    /// Whether a job is dead and fulfils all conditions, for engines that keep their jobs in memory.
    pub fn matches(&self, job: &InspectedJob) -> bool {
        let Some(dead) = &job.dead else { return false };
        let error = job.last_error.as_deref().unwrap_or_default();
        self.id.is_none_or(|id| id == job.envelope.id)
            && self.queue.as_ref().is_none_or(|queue| *queue == job.envelope.queue)
            && self.kind.as_ref().is_none_or(|kind| *kind == job.envelope.kind)
            && self.reason.is_none_or(|reason| reason == dead.reason)
            && self.error_contains.as_ref().is_none_or(|text| error.contains(text.as_str()))
            && self.since.is_none_or(|since| dead.died_at >= since)
            && self.died_before.is_none_or(|before| dead.died_at < before)
            && self.after.is_none_or(|after| job.envelope.id > after)
    }
}
