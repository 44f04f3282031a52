//! The figures of all queues, asked once for all open pages.
//!
//! Guarantees: however many pages reload, engine, stores and scaling signal are asked at most once in [`FIGURES_AGE`],
//! and the log of attempts for one bounded page. Delayed and dead jobs are counted as far as pages show counts. Rates
//! and waits are those of the last [`RECENT_MAX`] attempts of all queues together, not those of a fixed span: a query
//! over a span would grow with the load. The first attempt of a queue has its rates, too. An order store that is away
//! leaves out the outbox, and nothing else.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base::{
    Timestamp,
    error_class::describe,
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
use tokio::{sync::Mutex, time::timeout};

use crate::{cells::COUNT_SHOWN_MAX, error::ConsoleError, parts::ConsoleParts};

/// Age of figures that are shown again.
const FIGURES_AGE: Duration = Duration::from_secs(2);
/// Longest wait for the order store, which holds up no other figure.
const OUTBOX_MAX: Duration = Duration::from_secs(2);
/// Attempts looked at for rates and waits.
const RECENT_MAX: u32 = 500;
/// The last of these attempts, which are told one by one.
const LATEST_MAX: usize = 15;
/// Shortest span that a rate is told of while all attempts of it are known: one attempt a second ago is none of sixty.
const RATE_SPAN_MIN: Duration = Duration::from_mins(1);
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
    /// What waits to be published; `None` while the order store does not answer.
    pub(crate) outbox: Option<Backlog>,
    /// Worker processes that live.
    pub(crate) workers: usize,
    /// The latest attempts of all queues, newest first.
    pub(crate) latest: Vec<AttemptRecord>,
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
    let (figures, outbox) = tokio::join!(ask_jobs(parts, at), ask_outbox(parts));
    Ok(Figures { outbox, ..figures? })
}

/// The backlog of the outbox. Without an answer pages show all else, and say so.
async fn ask_outbox(parts: &ConsoleParts) -> Option<Backlog> {
    let error = match timeout(OUTBOX_MAX, parts.orders.backlog_up_to(COUNT_SHOWN_MAX)).await {
        Ok(Ok(backlog)) => return Some(backlog),
        Ok(Err(error)) => describe(&error),
        Err(_) => format!("no answer within {} s", OUTBOX_MAX.as_secs()),
    };
    tracing::warn!(error, "outbox not shown in the console");
    None
}

/// All figures but that of the outbox.
async fn ask_jobs(parts: &ConsoleParts, at: Timestamp) -> Result<Figures, ConsoleError> {
    let (engine, notes) = (parts.engine.as_ref(), live_notes(parts.store.as_ref(), &parts.ambient).await?);
    let statuses = inspection::queues_up_to(engine, &notes, at, COUNT_SHOWN_MAX).await?;
    let filter = RecordFilter { limit: RECENT_MAX, ..RecordFilter::default() };
    let recent = parts.records.list(&filter).await?;
    let (signals, span) = ((parts.scaling)().await.unwrap_or_default(), known_span(&recent, at));
    let mut queues: Vec<_> =
        statuses.into_iter().map(|status| of_queue(status, &recent, &signals, span)).collect();
    queues.sort_by(|one, other| (one.status.rank(), one.name()).cmp(&(other.status.rank(), other.name())));
    let workers = processes(&notes);
    Ok(Figures {
        at,
        engine: engine.name(),
        queues,
        short_delays: engine.short_delays().await?,
        outbox: None,
        workers,
        latest: recent.into_iter().take(LATEST_MAX).collect(),
        consumers: inspection::workers(engine.consumers().await?, notes),
        lost: lost_notes(parts.store.as_ref(), &parts.ambient).await?,
    })
}

/// Processes that wrote these notes.
pub(crate) fn processes(notes: &[WorkerNote]) -> usize {
    notes.iter().map(|note| note.worker.as_str()).collect::<HashSet<_>>().len()
}

/// Span of time whose attempts these are, newest first: since the oldest of them, or longer where there are no others.
fn known_span(recent: &[AttemptRecord], now: Timestamp) -> Duration {
    let known = recent.last().map(|oldest| between(oldest.started_at, now)).unwrap_or_default();
    if recent.len() < RECENT_MAX as usize { known.max(RATE_SPAN_MIN) } else { known }
}

fn of_queue(
    status: QueueStatus,
    recent: &[AttemptRecord],
    signals: &[QueueSignal],
    span: Duration,
) -> QueueFigures {
    let signal = signals.iter().find(|signal| signal.queue == status.depth.queue);
    let its: Vec<_> = recent.iter().filter(|record| record.queue == status.depth.queue).collect();
    let completed = its.iter().filter(|record| record.outcome == AttemptOutcome::Completed).count();
    let rate = |number: usize| (!its.is_empty()).then(|| per_minute(number, span)).flatten();
    let first = its.iter().filter(|record| record.attempt == 1);
    let mut waits: Vec<Duration> =
        first.map(|record| between(record.created_at, record.started_at)).collect();
    waits.sort_unstable();
    let wait = waits.get(waits.len() * WAIT_QUANTILE / 1000);
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
    use jobs::{JobId, engine::Depth};

    use super::*;

    fn queue(name: &str) -> QueueStatus {
        let depth = Depth {
            queue: name.to_owned(),
            ready: 0,
            delayed: 0,
            running: 0,
            dead: 0,
            oldest_ready_at: None,
            paused: false,
        };
        QueueStatus { depth, consumers: 1, slots: 1, fair: None }
    }

    /// A first attempt of the queue `email`, which waited for half a second.
    fn attempt(started_at: Timestamp, outcome: AttemptOutcome) -> AttemptRecord {
        AttemptRecord {
            job: JobId::fresh(&base::Ambient::system()),
            kind: "send_mail".to_owned(),
            queue: "email".to_owned(),
            subject: None,
            attempt: 1,
            worker: "w-1".to_owned(),
            created_at: base::time::earlier(started_at, Duration::from_millis(500)),
            started_at,
            duration: Duration::from_millis(20),
            outcome,
            error: None,
            trace: None,
        }
    }

    #[test]
    fn a_rate_needs_a_span() {
        assert_eq!(per_minute(5, Duration::ZERO), None);
        assert_eq!(per_minute(5, Duration::from_secs(30)), Some(10.0));
    }

    #[test]
    fn the_first_attempt_has_its_rates_and_its_wait() {
        let now = Timestamp::from_second(1_000).expect("a time");
        let one = [attempt(Timestamp::from_second(999).expect("a time"), AttemptOutcome::Completed)];
        let of = |name| of_queue(queue(name), &one, &[], known_span(&one, now));
        let email = of("email");
        assert_eq!((email.completed_per_minute, email.failed_per_minute), (Some(1.0), Some(0.0)));
        assert_eq!(email.wait_p95_ms, Some(500));
        let other = of("payments");
        assert_eq!((other.completed_per_minute, other.wait_p95_ms), (None, None), "it had no attempt");
    }

    #[test]
    fn rates_of_a_full_page_are_those_of_its_span() {
        let [now, began] = [1_000, 990].map(|second| Timestamp::from_second(second).expect("a time"));
        let full = vec![attempt(began, AttemptOutcome::Retried); RECENT_MAX as usize];
        assert_eq!(known_span(&full, now), Duration::from_secs(10), "there were others before");
        assert_eq!(known_span(&full[1..], now), RATE_SPAN_MIN, "there were no others");
        let email = of_queue(queue("email"), &full, &[], known_span(&full, now));
        assert_eq!((email.completed_per_minute, email.failed_per_minute), (Some(0.0), Some(3_000.0)));
    }
}
