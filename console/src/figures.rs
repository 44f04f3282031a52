//! The figures of all queues, asked once for all open pages.
//!
//! Guarantees: however many pages reload, engine, stores and scaling signal are asked at most once in [`FIGURES_AGE`],
//! and the log of attempts for one bounded page. Delayed and dead jobs are counted as far as pages show counts. Rates
//! and waits are those of the last [`RECENT_MAX`] attempts of all queues together, not those of a fixed span: a query
//! over a span would grow with the load.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base::{
    Timestamp,
    time::{between, later},
};
use jobs::{
    inspection::{self, QueueStatus, WorkerStatus, live_notes, lost_notes},
    job_store::WorkerNote,
    records::{AttemptOutcome, AttemptRecord, RecordFilter},
    scaling::QueueSignal,
};
use serde::Serialize;
use store::outbox::Backlog;
use tokio::sync::Mutex;

use crate::{cells::COUNT_SHOWN_MAX, error::ConsoleError, parts::ConsoleParts};

/// Age of figures that are shown again.
const FIGURES_AGE: Duration = Duration::from_secs(2);
/// Attempts looked at for rates and waits.
const RECENT_MAX: u32 = 500;
/// Attempts of a queue below which no rate and no wait is told.
const RECENT_MIN: usize = 2;
/// Place of the wait that is told among all, in thousandths.
const WAIT_QUANTILE: usize = 950;

/// What all queues hold and do.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Time of the figures.
    pub(crate) at: Timestamp,
    pub(crate) engine: &'static str,
    /// Queues, those in trouble first.
    pub(crate) queues: Vec<QueueFigures>,
    /// Jobs of any queue in delays that the engine cannot assign to one.
    pub(crate) short_delays: u64,
    /// What waits to be published.
    pub(crate) outbox: Backlog,
    /// Worker processes that live.
    pub(crate) workers: usize,
    /// Consumers and processes; they have a page and a JSON of their own.
    #[serde(skip)]
    pub(crate) consumers: Vec<WorkerStatus>,
    /// Queues of processes that ended within the last hour without stopping in order, newest first.
    #[serde(skip)]
    pub(crate) lost: Vec<WorkerNote>,
}

impl Figures {
    /// Those of one queue.
    pub(crate) fn queue(&self, name: &str) -> Option<&QueueFigures> {
        self.queues.iter().find(|queue| queue.name() == name)
    }
}

/// A queue.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueueFigures {
    #[serde(flatten)]
    pub(crate) status: QueueStatus,
    /// Worker processes that the queue needs, as `/scaling` tells; `None` for queues that are not scaled.
    pub(crate) desired_workers: Option<u32>,
    /// Attempts that completed, per minute.
    pub(crate) completed_per_minute: Option<f64>,
    /// Attempts that ended in another way, per minute.
    pub(crate) failed_per_minute: Option<f64>,
    /// Time from publish to start that 95 of 100 first attempts do not exceed, in milliseconds.
    pub(crate) wait_p95_ms: Option<u64>,
}

impl QueueFigures {
    pub(crate) fn name(&self) -> &str {
        &self.status.depth.queue
    }

    /// Whether nothing takes its jobs.
    pub(crate) fn is_stuck(&self) -> bool {
        self.status.is_unconsumed()
    }
}

/// The last figures, with the time at which they were complete, which all open pages share.
#[derive(Default)]
pub(crate) struct SharedFigures(Mutex<Option<(Arc<Figures>, Timestamp)>>);

impl SharedFigures {
    /// The present figures; concurrent callers share one round of questions.
    pub(crate) async fn read(&self, parts: &ConsoleParts) -> Result<Arc<Figures>, ConsoleError> {
        self.read_later_than(parts, None).await
    }

    /// The same, of a look that began after this time.
    pub(crate) async fn read_later_than(
        &self,
        parts: &ConsoleParts,
        then: Option<Timestamp>,
    ) -> Result<Arc<Figures>, ConsoleError> {
        let (mut last, now) = (self.0.lock().await, parts.ambient.now());
        // Not their own time: those who waited for a slow look must not look once more, one after the other.
        if let Some((figures, complete_at)) = &*last
            && then.is_none_or(|then| figures.at > then)
            && (*complete_at..later(*complete_at, FIGURES_AGE)).contains(&now)
        {
            return Ok(Arc::clone(figures));
        }
        let figures = Arc::new(ask(parts, now).await?);
        *last = Some((Arc::clone(&figures), parts.ambient.now()));
        Ok(figures)
    }
}

async fn ask(parts: &ConsoleParts, at: Timestamp) -> Result<Figures, ConsoleError> {
    let (engine, notes) = (parts.engine.as_ref(), live_notes(parts.store.as_ref(), &parts.ambient).await?);
    let statuses = inspection::queues_up_to(engine, &notes, at, COUNT_SHOWN_MAX).await?;
    let filter = RecordFilter { limit: RECENT_MAX, ..RecordFilter::default() };
    let recent = parts.records.list(&filter).await?;
    let signals = (parts.scaling)().await.unwrap_or_default();
    let mut queues: Vec<_> =
        statuses.into_iter().map(|status| of_queue(status, &recent, &signals, at)).collect();
    queues.sort_by(|one, other| (one.status.rank(), one.name()).cmp(&(other.status.rank(), other.name())));
    let workers = processes(&notes);
    Ok(Figures {
        at,
        engine: engine.name(),
        queues,
        short_delays: engine.short_delays().await?,
        outbox: parts.orders.backlog().await?,
        workers,
        consumers: inspection::workers(engine.consumers().await?, notes),
        lost: lost_notes(parts.store.as_ref(), &parts.ambient).await?,
    })
}

/// Processes that wrote these notes.
pub(crate) fn processes(notes: &[WorkerNote]) -> usize {
    notes.iter().map(|note| note.worker.as_str()).collect::<HashSet<_>>().len()
}

fn of_queue(
    status: QueueStatus,
    recent: &[AttemptRecord],
    signals: &[QueueSignal],
    now: Timestamp,
) -> QueueFigures {
    let signal = signals.iter().find(|signal| signal.queue == status.depth.queue);
    let its: Vec<_> = recent.iter().filter(|record| record.queue == status.depth.queue).collect();
    // Newest first: the last one of all queues began the span that is known.
    let known = recent.last().map(|oldest| between(oldest.started_at, now)).unwrap_or_default();
    let completed = its.iter().filter(|record| record.outcome == AttemptOutcome::Completed).count();
    let rate = |number: usize| (its.len() >= RECENT_MIN).then(|| per_minute(number, known)).flatten();
    let first = its.iter().filter(|record| record.attempt == 1);
    let mut waits: Vec<Duration> =
        first.map(|record| between(record.created_at, record.started_at)).collect();
    waits.sort_unstable();
    let wait = waits.get(waits.len() * WAIT_QUANTILE / 1000).filter(|_| waits.len() >= RECENT_MIN);
    QueueFigures {
        desired_workers: signal.map(|signal| signal.desired_workers),
        completed_per_minute: rate(completed),
        failed_per_minute: rate(its.len() - completed),
        wait_p95_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        status,
    }
}

/// Rounded to a tenth.
fn per_minute(number: usize, span: Duration) -> Option<f64> {
    let number = u32::try_from(number).ok().map(f64::from)?;
    (!span.is_zero()).then(|| (number * 600.0 / span.as_secs_f64()).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_a_span() {
        assert_eq!(per_minute(5, Duration::ZERO), None);
        assert_eq!(per_minute(5, Duration::from_secs(30)), Some(10.0));
    }
}
