//! The history of one job: what the engine holds of it, its attempts, and what its last run has reported.

use serde::Serialize;

use crate::{
    engine::{Admin, EngineError, InspectedJob, LIST_MAX},
    envelope::JobId,
    job_store::{RunReport, RunReports},
    records::{AttemptRecord, RecordFilter, RecordStore},
};

/// All that is known of a job.
#[derive(Debug, Serialize)]
pub struct JobHistory {
    /// The job.
    pub id: JobId,
    /// What the engine holds; `None` for a job that has ended, or that the engine cannot list.
    pub held: Option<InspectedJob>,
    /// Its finished attempts, oldest first, the last 1000 at most.
    pub attempts: Vec<AttemptRecord>,
    /// What its last run that reported has reported.
    pub report: Option<RunReport>,
}

impl JobHistory {
    /// Whether nothing is known of the job.
    pub fn is_unknown(&self) -> bool {
        self.held.is_none() && self.attempts.is_empty() && self.report.is_none()
    }
}

/// Reads the history of a job; without `reports`, no report.
pub async fn history(
    engine: &dyn Admin,
    records: &dyn RecordStore,
    reports: Option<&dyn RunReports>,
    id: JobId,
) -> Result<JobHistory, EngineError> {
    let held = engine.find(id).await?;
    let filter = RecordFilter { job: Some(id), limit: LIST_MAX, ..RecordFilter::default() };
    let mut attempts = records.list(&filter).await?;
    attempts.reverse();
    let report = match reports {
        Some(reports) => reports.report(id).await?,
        None => None,
    };
    Ok(JobHistory { id, held, attempts, report })
}
