//! What operators ask an engine about: how full its queues are, who consumes, which jobs it holds.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::DeadReason;
use crate::envelope::{Envelope, JobId};

/// How full a queue is. Counts may be slightly old; `RabbitMQ` counts are those of its last statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// The queue.
    pub queue: String,
    /// Waiting to be started now.
    pub ready: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// Handed out and not settled.
    pub running: u64,
    /// Parked.
    pub dead: u64,
    /// When the oldest ready job became ready; the signal to scale by.
    pub oldest_ready_at: Option<Timestamp>,
    /// Whether it is paused.
    pub paused: bool,
}

/// A consumer, as other processes see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsumerInfo {
    /// [`ConsumeOptions::name`](super::ConsumeOptions::name).
    pub name: String,
    /// The queue it consumes.
    pub queue: String,
    /// Jobs handed to it and not settled, the prefetched ones included.
    pub jobs: u64,
    /// Last known sign of life, or until when its lease holds, whichever is later.
    pub alive_until: Timestamp,
}

/// Where a held job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// May start now.
    Ready,
    /// Waits for its time.
    Delayed,
    /// Handed out.
    Running,
    /// Parked.
    Dead,
}

/// A job as an engine holds it.
#[derive(Debug, Clone, Serialize)]
pub struct InspectedJob {
    /// The job; for a message that could not be read, a made-up envelope of kind `""` with the raw bytes as a string.
    pub envelope: Envelope,
    /// Where it stands.
    pub state: JobState,
    /// How often it lost its consumer.
    pub crashes: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// Set when dead.
    pub dead: Option<DeadInfo>,
}

/// How a job came to be dead.
#[derive(Debug, Clone, Serialize)]
pub struct DeadInfo {
    /// Why.
    pub reason: DeadReason,
    /// When it failed first.
    pub first_failed_at: Timestamp,
    /// When it was parked.
    pub died_at: Timestamp,
}

/// Which held jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this state.
    pub state: Option<JobState>,
    /// Only this kind.
    pub kind: Option<String>,
    /// After this job in the listing.
    pub after: Option<JobId>,
    /// At most so many; engines cap it at 1000.
    pub limit: u32,
}

/// Which dead jobs to redrive.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this reason.
    pub reason: Option<DeadReason>,
    /// Only errors containing this text.
    pub error_contains: Option<String>,
    /// Only those that died at or after this time.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
    /// Only say which ones.
    pub dry_run: bool,
}
