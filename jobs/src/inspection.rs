//! Listing of jobs, together with what an engine holds and cannot list.
//!
//! An engine without [`Capabilities::lists_ready`](crate::engine::Capabilities) or `lists_delayed` counts jobs that it
//! cannot name. A listing counts them, and names those in short delays by the log of attempts as far as it knows them.
//! Nothing may be decided by a listing: the log may be incomplete, and counts lag.

use std::collections::{HashMap, HashSet};

use base::Timestamp;

use crate::{
    engine::{Admin, EngineError, InspectedJob, JobFilter, JobState, LIST_MAX, SHORT_DELAY_MAX},
    envelope::JobId,
    records::{AttemptOutcome, AttemptRecord, RecordFilter, RecordStore},
};

/// Jobs that match a filter.
#[derive(Debug)]
pub struct Listing {
    /// Jobs that the engine lists, oldest first.
    pub jobs: Vec<InspectedJob>,
    /// Last attempts of jobs in a short delay, by the log of attempts; newest first.
    pub logged: Vec<AttemptRecord>,
    /// Queues with further jobs, of any kind.
    pub unlisted: Vec<Unlisted>,
}

/// Numbers of a queue's jobs that the engine cannot list.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    pub queue: String,
    pub ready: u64,
    /// Jobs in a short delay that are not among [`Listing::logged`].
    pub delayed: u64,
}

/// Lists jobs; see the module.
pub async fn list(
    engine: &dyn Admin,
    records: &dyn RecordStore,
    filter: &JobFilter,
    now: Timestamp,
) -> Result<Listing, EngineError> {
    let jobs = engine.list(filter).await?;
    let mut unlisted = unlisted(engine, filter).await?;
    let mut logged = Vec::new();
    if unlisted.iter().any(|of| of.delayed > 0) {
        for record in in_short_delay(engine, records, filter, now).await? {
            // The log does not know that a delay is over, so no more than the engine counts are listed.
            let of = unlisted.iter_mut().find(|of| of.queue == record.queue && of.delayed > 0);
            if let Some(of) = of.filter(|_| logged.len() + jobs.len() < filter.limit as usize) {
                of.delayed -= 1;
                logged.push(record);
            }
        }
    }
    unlisted.retain(|of| of.ready + of.delayed > 0);
    Ok(Listing { jobs, logged, unlisted })
}

/// Ready and delayed jobs that match the filter's queue and state and that the engine cannot list.
async fn unlisted(engine: &dyn Admin, filter: &JobFilter) -> Result<Vec<Unlisted>, EngineError> {
    let wants = |state| filter.state.is_none_or(|wanted| wanted == state);
    let can = engine.capabilities();
    let ready = wants(JobState::Ready) && !can.lists_ready;
    let delayed = wants(JobState::Delayed) && !can.lists_delayed;
    let mut unlisted = Vec::new();
    if !ready && !delayed {
        return Ok(unlisted);
    }
    for queue in engine.queues().await? {
        if filter.queue.as_ref().is_some_and(|only| *only != queue) {
            continue;
        }
        let depth = engine.depth(&queue).await?;
        let mut of = Unlisted { queue: queue.clone(), ready: 0, delayed: 0 };
        if ready {
            of.ready = depth.ready;
        }
        if delayed && depth.delayed > 0 {
            let all = JobFilter {
                queue: Some(queue),
                state: Some(JobState::Delayed),
                limit: LIST_MAX,
                ..JobFilter::default()
            };
            of.delayed = depth.delayed.saturating_sub(engine.list(&all).await?.len() as u64);
        }
        unlisted.push(of);
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
