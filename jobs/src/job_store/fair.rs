//! The contract of the backlog of fair queues: jobs that wait in the store for their turn, as a broker's queue knows no
//! keys.
//!
//! Guarantees of every implementation: as for [`super`]. Jobs of one key are claimed in the order in which they were
//! held; while several keys have jobs, each gets starts by its weight, and is at no moment further from its share than
//! by one job of its own and one of another key. Such jobs are scheduled jobs with [`ScheduledJob::fair`]: listed,
//! found, claimed by id, removed, purged and cancelled by [`ScheduledJobs`](super::scheduled::ScheduledJobs). Does not
//! decide which jobs wait here, see `crate::rabbitmq`; the arithmetic is told in [`Weights`].

use async_trait::async_trait;
use base::Timestamp;

use super::scheduled::ScheduledJob;
use crate::{
    engine::{EngineError, FairKey, JobFilter, JobState, Weights},
    job::Priority,
};

/// Most jobs of one call of [`FairBacklog::hold`].
pub const HELD_AT_ONCE_MAX: usize = 500;
/// Jobs of each priority of a queue that are counted for its depth: it bounds what a look costs. The scaling rule asks
/// for a worker more each minute while jobs are late, whatever the depth, and reaches its most far below this one.
pub const FAIR_BACKLOG_MAX: u32 = 250_000;
/// Keys deleted by one claim: more than one call of [`FairBacklog::hold`] adds, so that they do not pile up.
pub(super) const BEHIND_MAX: i64 = 1000;

/// A fair queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairQueue {
    /// Name of the queue.
    pub name: String,
    /// Whether jobs of a priority wait in the store, in the order of [`Priority::ALL`]; claimed ones count until they
    /// are removed.
    pub waits: [bool; 3],
}

/// The backlog of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Number of jobs of all priorities, each counted up to a limit.
    pub jobs: u64,
    /// Time since when the first of those that were counted waits. A job that was held before all others of its key has
    /// a turn before them, so hardly one beyond the limit waits for longer.
    pub oldest: Option<Timestamp>,
}

/// Jobs of fair queues that wait for their turn outside the broker.
#[async_trait]
pub trait FairBacklog: Send + Sync + 'static {
    /// Makes a declared queue fair, with these weights in place of those before.
    async fn set_fair(&self, queue: &str, weights: &Weights) -> Result<(), EngineError>;

    /// The fair queues, sorted by bytes.
    async fn fair_queues(&self) -> Result<Vec<FairQueue>, EngineError>;

    /// Stores jobs that may start now, [`HELD_AT_ONCE_MAX`] at most; [`ScheduledJob::due_at`] is the time since when
    /// they wait. Rows with the same ids are replaced as by
    /// [`ScheduledJobs::schedule`](super::ScheduledJobs::schedule).
    async fn hold(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError>;

    /// Claims up to `limit` jobs of a priority in the order of their turns; one that is not removed by
    /// [`ScheduledJobs::unschedule`](super::ScheduledJobs::unschedule) is available again, in its position, at `until`.
    /// A row that cannot be read is logged and set aside.
    async fn claim_next(
        &self,
        queue: &str,
        priority: Priority,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError>;

    /// Size and age of the backlog of a queue, by the jobs that have the first turns, up to `most` of each priority.
    async fn backlog(&self, queue: &str, most: u32) -> Result<Backlog, EngineError>;

    /// The keys with most jobs among the [`FAIR_COUNTED_MAX`](crate::engine::FAIR_COUNTED_MAX) that have the first
    /// turns, those with most first, at most `most`; claimed jobs count until they are removed.
    async fn waiting_keys(&self, queue: &str, most: u32) -> Result<Vec<FairKey>, EngineError>;
}

/// The key of a job; jobs without one have a key together.
pub(super) fn key_of(job: &ScheduledJob) -> &str {
    job.envelope.fair_key.as_deref().unwrap_or_default()
}

/// Which scheduled jobs a filter wants: those of the backlog, the others, or all.
pub(super) fn wants_fair(filter: &JobFilter) -> Option<bool> {
    match filter.state {
        Some(JobState::Ready) => Some(true),
        Some(JobState::Delayed) => Some(false),
        _ => None,
    }
}

/// Jobs of one statement, which changes a row once: of several with one id the one with the most attempts used stays,
/// in the place of the first.
pub(super) fn distinct(jobs: Vec<ScheduledJob>) -> Vec<ScheduledJob> {
    let mut distinct: Vec<ScheduledJob> = Vec::with_capacity(jobs.len());
    let mut places = std::collections::HashMap::with_capacity(jobs.len());
    for job in jobs {
        let place = *places.entry(job.envelope.id).or_insert(distinct.len());
        match distinct.get_mut(place) {
            Some(known) if known.envelope.attempt > job.envelope.attempt => {}
            Some(known) => *known = job,
            None => distinct.push(job),
        }
    }
    distinct
}
