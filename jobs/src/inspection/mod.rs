//! Listing of jobs, together with what an engine holds and cannot list; of running jobs with their reports; of queues
//! and worker processes; and the history of one job. For commands and consoles.
//!
//! An engine without [`Capabilities::lists_ready`](crate::engine::Capabilities) or `lists_delayed` counts jobs that it
//! cannot name. A listing counts them, and names those in short delays by the log of attempts as far as it knows them;
//! these are counted over all queues, as they wait in queues of the server that all job queues share.
//! Nothing may be decided by a listing: the log may be incomplete, and counts lag.

mod history;
mod processes;

use std::collections::{HashMap, HashSet};

use base::Timestamp;

pub use self::{
    history::{JobHistory, history},
    processes::{QueueStatus, WorkerStatus, live_notes, lost_notes, queues, queues_up_to, workers},
};
use crate::{
    engine::{Admin, EngineError, InspectedJob, JobFilter, JobState, LIST_MAX, SHORT_DELAY_MAX},
    envelope::JobId,
    job_store::{RunReport, RunReports},
    records::{AttemptOutcome, AttemptRecord, RecordFilter, RecordStore},
};

/// Jobs that match a filter.
#[derive(Debug)]
pub struct Listing {
    /// Jobs that the engine lists, oldest first.
    pub jobs: Vec<InspectedJob>,
    /// Last attempts of jobs in a short delay, by the log of attempts; newest first.
    pub logged: Vec<AttemptRecord>,
    /// Queues with ready jobs, of any kind, that the engine cannot list, and how many.
    pub unlisted: Vec<(String, u64)>,
    /// Jobs of any queue and kind in a short delay that are not among [`Listing::logged`].
    pub short_delays: u64,
}

/// A running job.
#[derive(Debug)]
pub struct RunningJob {
    /// The job.
    pub job: InspectedJob,
    /// What its run has reported; after a crash what the crashed run had, until the next one reports.
    pub report: Option<RunReport>,
}

/// Lists running jobs with what they report, oldest first; [`JobFilter::state`] is ignored.
pub async fn running(
    engine: &dyn Admin,
    reports: Option<&dyn RunReports>,
    filter: &JobFilter,
) -> Result<Vec<RunningJob>, EngineError> {
    let filter = JobFilter { state: Some(JobState::Running), ..filter.clone() };
    let jobs = engine.list(&filter).await?;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.envelope.id).collect();
    let found = match reports {
        Some(reports) => reports.reports(&ids).await?,
        None => Vec::new(),
    };
    let mut found: HashMap<JobId, RunReport> = found.into_iter().map(|report| (report.job, report)).collect();
    let running = jobs.into_iter().map(|job| {
        let attempt = job.envelope.attempt.saturating_add(1);
        let is_of_run = |report: &RunReport| report.ended_at.is_none() && report.attempt == attempt;
        let report = found.remove(&job.envelope.id).filter(is_of_run);
        RunningJob { job, report }
    });
    Ok(running.collect())
}

/// Lists jobs; see the module.
pub async fn list(
    engine: &dyn Admin,
    records: &dyn RecordStore,
    filter: &JobFilter,
    now: Timestamp,
) -> Result<Listing, EngineError> {
    let jobs = engine.list(filter).await?;
    let wants = |state| filter.state.is_none_or(|wanted| wanted == state);
    let can = engine.capabilities();
    let lacks_ready = wants(JobState::Ready) && !can.lists_ready;
    let unlisted = if lacks_ready { unlisted(engine, filter).await? } else { Vec::new() };
    let lacks_delayed = wants(JobState::Delayed) && !can.lists_delayed;
    let mut short_delays = if lacks_delayed { engine.short_delays().await? } else { 0 };
    let mut logged = Vec::new();
    if short_delays > 0 {
        logged = in_short_delay(engine, records, filter, now).await?;
        // The log does not know that a delay is over, so no more than the engine counts are listed.
        let room = (filter.limit as usize).saturating_sub(jobs.len());
        logged.truncate(room.min(usize::try_from(short_delays).unwrap_or(usize::MAX)));
        short_delays -= logged.len() as u64;
    }
    Ok(Listing { jobs, logged, unlisted, short_delays })
}

/// Numbers of ready jobs by queue, for those that match the filter and have some.
async fn unlisted(engine: &dyn Admin, filter: &JobFilter) -> Result<Vec<(String, u64)>, EngineError> {
    let mut unlisted = Vec::new();
    for queue in engine.queues().await? {
        if filter.queue.as_ref().is_some_and(|only| *only != queue) {
            continue;
        }
        let ready = engine.depth(&queue).await?.ready;
        if ready > 0 {
            unlisted.push((queue, ready));
        }
    }
    Ok(unlisted)
}

/// Last attempts after which a job waits for its next one, of jobs that the engine does not list, newest first.
async fn in_short_delay(
    engine: &dyn Admin,
    records: &dyn RecordStore,
    filter: &JobFilter,
    now: Timestamp,
) -> Result<Vec<AttemptRecord>, EngineError> {
    // Delays in a broker end up to a quarter late.
    let since = now - (SHORT_DELAY_MAX + SHORT_DELAY_MAX / 4);
    let mut listed: HashSet<JobId> = HashSet::new();
    for state in [JobState::Running, JobState::Delayed] {
        let all = JobFilter { state: Some(state), limit: LIST_MAX, ..JobFilter::default() };
        listed.extend(engine.list(&all).await?.iter().map(|job| job.envelope.id));
    }
    let mut last: HashMap<JobId, AttemptRecord> = HashMap::new();
    for outcome in [AttemptOutcome::Retried, AttemptOutcome::Snoozed] {
        let (queue, kind) = (filter.queue.clone(), filter.kind.clone());
        let wanted =
            RecordFilter { queue, kind, outcome: Some(outcome), limit: LIST_MAX, ..RecordFilter::default() };
        for record in records.list(&wanted).await? {
            let recent = record.started_at.checked_add(record.duration).is_ok_and(|ended| ended >= since);
            if recent && !listed.contains(&record.job) {
                let known = last.entry(record.job).or_insert_with(|| record.clone());
                if known.started_at < record.started_at {
                    *known = record;
                }
            }
        }
    }
    let mut waiting = Vec::new();
    for record in last.into_values() {
        let newest = RecordFilter { job: Some(record.job), limit: 1, ..RecordFilter::default() };
        // It may have run since, with another outcome.
        if records.list(&newest).await?.first().is_some_and(|newest| newest.started_at == record.started_at) {
            waiting.push(record);
        }
    }
    waiting.sort_by_key(|record| std::cmp::Reverse((record.started_at, record.job)));
    Ok(waiting)
}
