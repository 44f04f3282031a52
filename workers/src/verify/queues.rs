//! Lookup of outstanding jobs: whether a job is still to come.
//!
//! An engine that lists all its jobs is asked for each of them. One that does not (RabbitMQ: ready jobs and short
//! delays lie in the broker) is asked once for the jobs that it lists. Then a job counts as outstanding if the backlog
//! reaches back to its publishing, or if the log of attempts shows a recent failure, after which it waits for its next
//! attempt. So a job counts as lost only where nothing indicates the opposite; a mistake costs a repetition.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base::{Ambient, Timestamp, time::between};
use jobs::{
    Admin, JobId,
    engine::{DeadReason, Depth, InspectedJob, JobFilter, JobState},
    records::{AttemptOutcome, AttemptRecord, RecordFilter, RecordStore},
};
use tokio::sync::{Mutex, OnceCell};

use super::{error::VerifyError, finding::Awaited};
use crate::jobs::ended_without_subject;

/// Most listed jobs that are compared; beyond it no job counts as lost.
const HELD_MAX: usize = 100_000;
const PAGE: u32 = 1000;
/// The longest delay of a job inside a broker, with its lateness and one run.
const UNLISTED_MAX: Duration = Duration::from_mins(10);
/// How long a queue's depth is cached.
const DEPTH_FOR: Duration = Duration::from_secs(5);

/// State of a job, as far as the queues and the log tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JobFate {
    /// It will run, or may run.
    Open,
    /// It ended for good, by its own result or by request.
    GivenUp,
    /// It is a dead letter.
    Dead(DeadReason),
    /// No trace of it.
    Gone,
}

pub(super) struct Queues<'a> {
    engine: &'a dyn Admin,
    records: &'a dyn RecordStore,
    ambient: &'a Ambient,
    /// `None` inside: more than [`HELD_MAX`].
    held: OnceCell<Option<HashMap<JobId, JobFate>>>,
    depths: Mutex<HashMap<String, (Instant, Depth)>>,
}

impl<'a> Queues<'a> {
    pub(super) fn new(engine: &'a dyn Admin, records: &'a dyn RecordStore, ambient: &'a Ambient) -> Self {
        Self { engine, records, ambient, held: OnceCell::new(), depths: Mutex::default() }
    }

    /// The state of these jobs: open where one of them is, else that of a dead one, else what the log says.
    pub(super) async fn job_fate(&self, awaited: &Awaited) -> Result<JobFate, VerifyError> {
        let mut fate = JobFate::Gone;
        for job in &awaited.jobs {
            match self.held(*job).await? {
                JobFate::Gone => {}
                JobFate::Open => return Ok(JobFate::Open),
                parked => fate = parked,
            }
        }
        if fate != JobFate::Gone {
            return Ok(fate);
        }
        let lists_all = self.engine.capabilities().lists_ready;
        if !lists_all && self.may_wait(awaited).await? {
            return Ok(JobFate::Open);
        }
        for job in &awaited.jobs {
            let filter = RecordFilter { job: Some(*job), limit: 1, ..RecordFilter::default() };
            match self.records.list(&filter).await?.pop() {
                Some(last) if is_given_up(&last) => return Ok(JobFate::GivenUp),
                Some(last) if !lists_all && self.is_between_attempts(last.outcome, last.started_at) => {
                    return Ok(JobFate::Open);
                }
                _ => {}
            }
        }
        Ok(JobFate::Gone)
    }

    async fn held(&self, job: JobId) -> Result<JobFate, VerifyError> {
        if self.engine.capabilities().lists_ready {
            return Ok(self.engine.find(job).await?.map_or(JobFate::Gone, |held| job_fate_of(&held)));
        }
        let held = self.held.get_or_try_init(|| self.list()).await?;
        Ok(held.as_ref().map_or(JobFate::Open, |held| held.get(&job).cloned().unwrap_or(JobFate::Gone)))
    }

    async fn list(&self) -> Result<Option<HashMap<JobId, JobFate>>, VerifyError> {
        let mut held = HashMap::new();
        let mut after = None;
        loop {
            let page = self.engine.list(&JobFilter { after, limit: PAGE, ..JobFilter::default() }).await?;
            let Some(last) = page.last() else { return Ok(Some(held)) };
            after = Some(last.envelope.id);
            held.extend(page.iter().map(|job| (job.envelope.id, job_fate_of(job))));
            if held.len() > HELD_MAX {
                tracing::warn!(held = held.len(), "too many queued jobs, lost-job check skipped");
                return Ok(None);
            }
        }
    }

    /// Whether the oldest ready job of the queue is as old as the awaited one, which may then be among them.
    async fn may_wait(&self, awaited: &Awaited) -> Result<bool, VerifyError> {
        let depth = self.depth(&awaited.queue).await?;
        Ok(depth.ready > 0 && depth.oldest_ready_at.is_none_or(|oldest| oldest <= awaited.since))
    }

    async fn depth(&self, queue: &str) -> Result<Depth, VerifyError> {
        let mut depths = self.depths.lock().await;
        if let Some((at, depth)) = depths.get(queue)
            && at.elapsed() < DEPTH_FOR
        {
            return Ok(depth.clone());
        }
        let mut depth = self.engine.depth(queue).await?;
        // Without a worker nothing shows how far the backlog reaches back: a job may have been published late.
        let now = self.ambient.now();
        if !self.engine.consumers().await?.iter().any(|c| c.queue == queue && c.alive_until >= now) {
            depth.oldest_ready_at = None;
        }
        depths.insert(queue.to_owned(), (Instant::now(), depth.clone()));
        Ok(depth)
    }

    fn is_between_attempts(&self, outcome: AttemptOutcome, started_at: Timestamp) -> bool {
        use AttemptOutcome::{Retried, Snoozed, Stale};
        let age = between(started_at, self.ambient.now());
        matches!(outcome, Retried | Snoozed | Stale) && age < UNLISTED_MAX
    }
}

/// A job that did not find its subject was not given up: the audit sees the subject.
fn is_given_up(last: &AttemptRecord) -> bool {
    let is_without_subject = last.error.as_deref().is_some_and(ended_without_subject);
    last.outcome == AttemptOutcome::Cancelled && !is_without_subject
}

fn job_fate_of(held: &InspectedJob) -> JobFate {
    match (&held.state, &held.dead) {
        (JobState::Dead, dead) => {
            JobFate::Dead(dead.as_ref().map_or(DeadReason::Undecodable, |dead| dead.reason))
        }
        _ => JobFate::Open,
    }
}
