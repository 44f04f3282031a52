//! Schedules: jobs that are published again and again, by a cron expression or an interval.
//!
//! Guarantees: the id of a run is a function of the schedule's name and the fire time, so publishing a run twice is one
//! job wherever the engine holds the first one. Does not run jobs: a run is an ordinary job of its queue.
//!
//! Rows are in [`crate::job_store::Schedules`], published by the [`Scheduler`] that leads.

mod admin;
mod cron;
mod error;
mod missed;
mod scheduler;
mod stored;
mod timing;

#[cfg(test)]
mod tests;

use base::{Timestamp, TraceContext, ids};

pub use self::{
    admin::{LastAttempt, ScheduleAdmin, ScheduleInfo, ScheduleJob},
    error::ScheduleError,
    missed::{Missed, ON_TIME, RUNS_MAX},
    scheduler::{LEASE, Scheduler},
    timing::{CronTiming, EVERY_MAX, EVERY_MIN, Interval, Timing},
};
use crate::{
    engine::{EngineError, Publish, Published, is_name},
    envelope::{EnqueueOptions, Envelope, JobId},
    job::Job,
    spans::PublishSpans,
};

/// Fire time of a run, by the id of its job, `ctx.id`; of a run that an operator started, that moment.
pub fn fire_time(run: JobId) -> Option<Timestamp> {
    ids::timestamp_of(run.0)
}

/// A job to publish at certain times.
#[derive(Debug, Clone)]
pub struct Schedule {
    name: String,
    timing: Timing,
    missed: Missed,
    paused: bool,
    /// The job of each run, but for id and time.
    job: Envelope,
}

impl Schedule {
    /// A schedule that publishes this job to its queue at these times, with [`Missed::Latest`].
    ///
    /// A job with a [`Job::unique_key`] is not published while an earlier run holds the key, see [`Job::UNIQUE`].
    ///
    /// # Errors
    /// [`ScheduleError::Name`] for a name other than `[a-z0-9_]{1,60}`, [`ScheduleError::Job`] for a job that no engine
    /// accepts.
    pub fn new<J: Job>(name: &str, job: &J, timing: Timing) -> Result<Self, ScheduleError> {
        if !is_name(name) {
            return Err(ScheduleError::Name(name.to_owned()));
        }
        let (nil, epoch) = (JobId(ids::Uuid::nil()), Timestamp::UNIX_EPOCH);
        let job = Envelope::at(job, nil, EnqueueOptions::default(), epoch).map_err(ScheduleError::Job)?;
        Ok(Self { name: name.to_owned(), timing, missed: Missed::default(), paused: false, job })
    }

    /// Sets what becomes of missed runs.
    ///
    /// # Errors
    /// [`ScheduleError::MissedRuns`] for a number of runs that is zero or over [`RUNS_MAX`].
    pub fn missed(self, missed: Missed) -> Result<Self, ScheduleError> {
        match missed {
            Missed::All(runs) if !(1..=RUNS_MAX).contains(&runs) => Err(ScheduleError::MissedRuns(runs)),
            _ => Ok(Self { missed, ..self }),
        }
    }

    /// Pauses the schedule when it is stored for the first time.
    #[must_use]
    pub fn paused(self) -> Self {
        Self { paused: true, ..self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The timing.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// What becomes of missed runs.
    pub fn missed_runs(&self) -> Missed {
        self.missed
    }

    /// Whether the schedule is paused when it is stored for the first time.
    pub fn starts_paused(&self) -> bool {
        self.paused
    }

    /// Id of the run at a fire time; its time is the fire time.
    pub fn run_id(&self, at: Timestamp) -> JobId {
        JobId::derived(ids::floor(at), &self.name)
    }

    /// The job of a run.
    pub fn envelope(&self, id: JobId, now: Timestamp) -> Envelope {
        Envelope { id, created_at: now, ..self.job.clone() }
    }

    /// Publishes a run. It links to the span of its publishing instead of continuing it: the trace of a run is its own.
    async fn publish(
        &self,
        engine: &dyn Publish,
        id: JobId,
        now: Timestamp,
    ) -> Result<Vec<Published>, EngineError> {
        let mut jobs = vec![self.envelope(id, now)];
        let spans = PublishSpans::begin(&mut jobs, engine.name());
        for job in &mut jobs {
            job.trace = job.trace.take().filter(TraceContext::is_sampled).map(TraceContext::linked);
        }
        spans.end(engine.publish(jobs).await)
    }
}
