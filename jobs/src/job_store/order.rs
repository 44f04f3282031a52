//! The contract of order keys: which job of a key may run, and those that wait behind it, as a broker's queue knows no
//! keys.
//!
//! Guarantees of every implementation: as for [`super`]. At any time a key of a queue has one head, which holds it from
//! publishing until its end, also through its retries; the others come after it by their positions, which follow the
//! order of publishing. A key passes on in the transaction that ends its head: by [`OrderKeys::pass_on`],
//! [`DeadJobs::add_dead`](super::DeadJobs::add_dead), or [`ScheduledJobs::cancel`](super::ScheduledJobs::cancel). Jobs
//! behind a head are scheduled jobs with [`ScheduledJob::behind`]: listed, found, altered, cancelled and purged by
//! [`ScheduledJobs`](super::scheduled::ScheduledJobs), and never due. A head is a scheduled job, a message or a run
//! like that of any other job. Does not publish, and does not know what runs: see `crate::rabbitmq`.
//!
//! A head is a job, not a process: as the broker delivers it until it has ended, a key needs no lease. What a crash may
//! leave is a second copy of a message, which [`OrderKeys::take_key`] tells from the head of the key.

use async_trait::async_trait;
use base::Timestamp;

use super::scheduled::ScheduledJob;
use crate::{engine::EngineError, envelope::JobId};

/// Most jobs of one call of [`OrderKeys::line_up`].
pub const LINED_UP_AT_ONCE_MAX: usize = 500;

/// Jobs of queues that run one after the other by an order key.
#[async_trait]
pub trait OrderKeys: Send + Sync + 'static {
    /// Stores jobs with order keys, [`LINED_UP_AT_ONCE_MAX`] at most, in the order of their publishing. The first job
    /// of a key that no job holds becomes its head and is due at [`ScheduledJob::due_at`]; all others wait behind
    /// theirs. A job that is at the head of its key or behind it is left as it is. A job that was dead takes the
    /// position that it had.
    async fn line_up(&self, jobs: Vec<ScheduledJob>, now: Timestamp) -> Result<(), EngineError>;

    /// Whether a job is the head of its key; takes a key that has none, as after a purge.
    async fn take_key(&self, queue: &str, key: &str, job: JobId, now: Timestamp)
    -> Result<bool, EngineError>;

    /// Ends the turn of those of these jobs that are heads: the next job of each key becomes its head, and due.
    async fn pass_on(&self, ids: &[JobId], now: Timestamp) -> Result<(), EngineError>;

    /// Moves a claimed job to the key of the queue that its envelope names, by its position. Returns false, and changes
    /// nothing, when its claim is no longer in force.
    async fn change_line(&self, job: ScheduledJob, now: Timestamp) -> Result<bool, EngineError>;

    /// Those of these jobs that wait behind another one, with the head of their key.
    async fn heads_of(&self, ids: &[JobId]) -> Result<Vec<(JobId, JobId)>, EngineError>;
}

/// The order key of a job; jobs without one, which no caller lines up, would have a key together.
pub(super) fn order_key_of(job: &ScheduledJob) -> &str {
    job.envelope.order_key.as_deref().unwrap_or_default()
}
