//! The contract of run reports: progress, log lines and result of runs, kept for a time.
//!
//! Guarantees of every implementation: as for [`super`]; one report a job, that of the last run that has reported; a
//! report of an earlier run never replaces it. Which run is the later one is told by their starts, on the clocks of
//! their workers. Decides nothing: a report is for people and programs that ask for it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{engine::EngineError, envelope::JobId};

/// Most reports deleted by one call, which bounds how long other writers wait.
pub const REPORTS_EXPIRED_MAX: u32 = 500;

/// What a run has reported, whole: a later report of the same run contains the earlier ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunReport {
    /// The job.
    pub job: JobId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Name of the worker process that runs it.
    pub worker: String,
    /// Start of the run.
    pub started_at: Timestamp,
    /// Time of the last change.
    pub reported_at: Timestamp,
    /// End of the run, however it ended; `None` while it goes on, and after a crash of its process.
    pub ended_at: Option<Timestamp>,
    /// Last progress.
    pub progress: Option<Progress>,
    /// The last lines, oldest first.
    pub log: Vec<LogLine>,
    /// Lines before those.
    pub lines_dropped: u64,
    /// JSON of the result.
    pub result: Option<Box<RawValue>>,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// A text for people; may be empty.
    pub message: String,
}

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Time on the worker's clock.
    pub at: Timestamp,
    /// A text for people.
    pub text: String,
}

/// Reports of runs.
#[async_trait]
pub trait RunReports: Send + Sync + 'static {
    /// Stores reports in place of those of the same jobs, but for those of runs that have started later. Of several
    /// reports of one job the one whose run started last counts, and of one run the last in the list.
    async fn put_reports(&self, reports: Vec<RunReport>) -> Result<(), EngineError>;

    /// Reports of these jobs, by id; a report that another release has written and this one cannot read is left out.
    async fn reports(&self, jobs: &[JobId]) -> Result<Vec<RunReport>, EngineError>;

    /// The report of a job.
    async fn report(&self, job: JobId) -> Result<Option<RunReport>, EngineError> {
        Ok(self.reports(&[job]).await?.pop())
    }

    /// Deletes reports of runs that started before this time, oldest first, [`REPORTS_EXPIRED_MAX`] at most; returns
    /// how many.
    async fn expire_reports(&self, before: Timestamp) -> Result<u64, EngineError>;
}

/// One report a job, by id: processes then lock rows in one order.
pub(super) fn newest(reports: Vec<RunReport>) -> Vec<RunReport> {
    let mut newest: BTreeMap<JobId, RunReport> = BTreeMap::new();
    for report in reports {
        if newest.get(&report.job).is_none_or(|held| held.started_at <= report.started_at) {
            newest.insert(report.job, report);
        }
    }
    newest.into_values().collect()
}

/// The report of a stored text.
pub(super) fn read(stored: &str) -> Option<RunReport> {
    serde_json::from_str(stored).ok()
}
