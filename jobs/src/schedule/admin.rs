//! Inspection and control of schedules, for commands and consoles; with or without a running scheduler.

use base::{Ambient, Timestamp};
use serde::Serialize;

use super::{Missed, Schedule, ScheduleError};
use crate::{
    engine::{Publish, Published},
    envelope::JobId,
    job_store::{ScheduleRow, Schedules},
    records::{AttemptOutcome, RecordFilter, RecordStore},
};

/// Fire times listed for each schedule.
const NEXT_MAX: usize = 5;

/// The schedules of a job store, the engine of their jobs, and the log of attempts.
#[expect(missing_docs, reason = "the line above names the fields")]
#[derive(Clone, Copy)]
pub struct ScheduleAdmin<'a> {
    pub store: &'a dyn Schedules,
    pub engine: &'a dyn Publish,
    pub records: &'a dyn RecordStore,
    pub ambient: &'a Ambient,
}

/// A schedule with its coming fire times and its last run.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Serialize)]
pub struct ScheduleInfo {
    pub name: String,
    /// The timing as a text, such as `0 3 * * * (Europe/Berlin)`.
    pub timing: String,
    pub paused: bool,
    /// Whether the program of the leading scheduler no longer has it; then it does not fire.
    pub orphaned: bool,
    /// The next five fire times, of a paused schedule those it would have; none of an orphaned one. The first one is in
    /// the past while no scheduler runs.
    pub next: Vec<Timestamp>,
    /// Time of the last run.
    pub last_fire_at: Option<Timestamp>,
    pub last_job: Option<JobId>,
    /// The last finished attempt of that job; `None` while there is none, and once its record has expired.
    pub last_attempt: Option<LastAttempt>,
    /// What is published, and what becomes of missed runs; `None` for a schedule that this program cannot read.
    pub definition: Option<ScheduleJob>,
    /// Reason for which this program cannot read the schedule.
    pub error: Option<String>,
}

impl ScheduleInfo {
    /// Its state in a word: `unreadable`, `orphaned`, `paused` or `active`.
    pub const fn state(&self) -> &'static str {
        match self {
            Self { error: Some(_), .. } => "unreadable",
            Self { orphaned: true, .. } => "orphaned",
            Self { paused: true, .. } => "paused",
            _ => "active",
        }
    }
}

/// The job of a schedule.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Serialize)]
pub struct ScheduleJob {
    pub kind: String,
    pub queue: String,
    pub missed: Missed,
}

/// An attempt of a run.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Serialize)]
pub struct LastAttempt {
    pub outcome: AttemptOutcome,
    pub started_at: Timestamp,
    pub error: Option<String>,
}

impl ScheduleAdmin<'_> {
    /// All schedules, by name.
    pub async fn list(&self) -> Result<Vec<ScheduleInfo>, ScheduleError> {
        let mut schedules = Vec::new();
        for row in self.store.schedules().await? {
            schedules.push(self.info(row).await?);
        }
        Ok(schedules)
    }

    /// Stops a schedule from firing, over restarts, until [`Self::resume`].
    ///
    /// # Errors
    /// As for all methods with a name, [`ScheduleError::Unknown`] lists the schedules there are.
    pub async fn pause(&self, name: &str) -> Result<(), ScheduleError> {
        if self.store.pause_schedule(name).await? { Ok(()) } else { Err(self.unknown(name).await?) }
    }

    /// Ends a pause; the schedule fires next at its first time from now on. Nothing happens when it is not paused.
    pub async fn resume(&self, name: &str) -> Result<(), ScheduleError> {
        let row = self.require(name).await?;
        let next = Schedule::from_stored(&row)?.timing().next_after(self.ambient.now());
        self.store.resume_schedule(name, next).await?;
        Ok(())
    }

    /// Publishes a run now, beside those of the schedule's times, which stay as they are; also of a paused schedule.
    /// Returns its job.
    ///
    /// # Errors
    /// [`ScheduleError::Overlaps`] names the job that holds the unique key of the run.
    pub async fn run_now(&self, name: &str) -> Result<JobId, ScheduleError> {
        self.run_as(name, JobId::fresh(self.ambient)).await
    }

    /// As [`Self::run_now`], under an id that the caller has chosen: repeated, it is one job wherever the engine holds
    /// the first one.
    pub async fn run_as(&self, name: &str, id: JobId) -> Result<JobId, ScheduleError> {
        let row = self.require(name).await?;
        let now = self.ambient.now();
        let published = Schedule::from_stored(&row)?.publish(self.engine, id, now).await?;
        if let Some(Published::NotUnique(holder)) = published.first() {
            return Err(ScheduleError::Overlaps { name: row.name, job: holder.id });
        }
        self.store.note_run(name, now, id).await?;
        Ok(id)
    }

    async fn require(&self, name: &str) -> Result<ScheduleRow, ScheduleError> {
        match self.store.find_schedule(name).await? {
            Some(row) => Ok(row),
            None => Err(self.unknown(name).await?),
        }
    }

    async fn unknown(&self, name: &str) -> Result<ScheduleError, ScheduleError> {
        let known: Vec<String> = self.store.schedules().await?.into_iter().map(|row| row.name).collect();
        let known = match known.as_slice() {
            [] => "none is stored: a scheduler stores its own when it begins to lead".to_owned(),
            known => format!("there are: {}", known.join(", ")),
        };
        Ok(ScheduleError::Unknown { name: name.to_owned(), known })
    }

    async fn info(&self, row: ScheduleRow) -> Result<ScheduleInfo, ScheduleError> {
        let last_attempt = match row.last_job {
            Some(job) => self.last_attempt(job).await?,
            None => None,
        };
        let (schedule, error) = match Schedule::from_stored(&row) {
            Ok(schedule) => (Some(schedule), None),
            Err(error) => (None, Some(crate::error::describe(&error))),
        };
        let next = schedule.as_ref().map(|schedule| self.next(&row, schedule)).unwrap_or_default();
        let timing = schedule.as_ref().map(|schedule| schedule.timing().to_string());
        let definition = schedule.map(|Schedule { missed, job, .. }| {
            let (kind, queue) = (job.kind, job.queue);
            ScheduleJob { kind, queue, missed }
        });
        Ok(ScheduleInfo {
            name: row.name,
            timing: timing.unwrap_or(row.timing),
            paused: row.paused,
            orphaned: row.orphaned,
            next,
            last_fire_at: row.last_fire_at,
            last_job: row.last_job,
            last_attempt,
            definition,
            error,
        })
    }

    fn next(&self, row: &ScheduleRow, schedule: &Schedule) -> Vec<Timestamp> {
        let timing = schedule.timing();
        let first = if row.paused { timing.next_after(self.ambient.now()) } else { row.next_fire_at };
        let first = first.filter(|_| !row.orphaned);
        std::iter::successors(first, |at| timing.next_after(*at)).take(NEXT_MAX).collect()
    }

    async fn last_attempt(&self, job: JobId) -> Result<Option<LastAttempt>, ScheduleError> {
        let filter = RecordFilter { job: Some(job), limit: 1, ..RecordFilter::default() };
        let last = self.records.list(&filter).await?.pop();
        Ok(last.map(|last| LastAttempt {
            outcome: last.outcome,
            started_at: last.started_at,
            error: last.error,
        }))
    }
}
