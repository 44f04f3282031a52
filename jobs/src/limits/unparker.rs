//! Makes parked jobs ready in their queues, beside the keeper: an engine that is slow must not delay renewals.
//!
//! A job whose snooze is not durable yet is tried again; one that is never made ready comes when its snooze ends. Only
//! a delayed job is touched: one that meanwhile ran and died must not be redriven.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    engine::{Admin, EngineError, JobState},
    envelope::JobId,
};

/// Most jobs that wait to be made ready; further ones come when their snooze ends.
pub(super) const QUEUE_MAX: usize = 1000;
/// Pause before a job is tried again, and the number of tries.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const TRIES_MAX: u32 = 3;
/// Longest wait for the engine.
const CALL_MAX: Duration = Duration::from_secs(5);

pub(super) struct Unparker {
    engine: Arc<dyn Admin>,
    jobs: mpsc::Receiver<JobId>,
    /// Jobs to be tried again, with the tries so far, by time. Bounded by [`QUEUE_MAX`].
    again: VecDeque<(Instant, JobId, u32)>,
}

impl Unparker {
    pub(super) fn new(engine: Arc<dyn Admin>, jobs: mpsc::Receiver<JobId>) -> Self {
        Self { engine, jobs, again: VecDeque::new() }
    }

    /// Runs until the sender of the jobs is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let at = self.again.front().map(|(at, ..)| *at);
            let retry = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let (job, tries) = tokio::select! {
                biased;
                () = retry => match self.again.pop_front() {
                    Some((_, job, tries)) => (job, tries),
                    None => continue,
                },
                job = self.jobs.recv() => match job {
                    Some(job) => (job, 0),
                    None => return,
                },
            };
            self.make_ready(job, tries + 1).await;
        }
    }

    async fn make_ready(&mut self, job: JobId, tries: u32) {
        let error = match timeout(CALL_MAX, self.try_once(job)).await {
            Ok(Ok(true)) => return,
            Ok(Ok(false)) => None,
            Ok(Err(error)) => Some(crate::error::describe(&error)),
            Err(_) => Some("no result in time".to_owned()),
        };
        if tries < TRIES_MAX && self.again.len() < QUEUE_MAX {
            self.again.push_back((Instant::now() + AGAIN_AFTER, job, tries));
            return;
        }
        tracing::debug!(job.id = %job, error, "parked job not made ready, comes when its snooze ends");
    }

    /// Whether the job waits no more.
    async fn try_once(&self, job: JobId) -> Result<bool, EngineError> {
        match self.engine.find(job).await?.map(|held| held.state) {
            Some(JobState::Delayed) => self.engine.retry_now(job).await,
            Some(JobState::Ready | JobState::Dead) => Ok(true),
            // Its snooze is not durable yet, or the engine cannot find a job that is ready.
            Some(JobState::Running) | None => Ok(false),
        }
    }
}
