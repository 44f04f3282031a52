//! Recorded spans of jobs: one for the publishing of a job, one for each run.
//!
//! A job carries the context of the span that published it, and its runs continue that: publisher and run are one
//! trace. A run after a redrive, and a run of a schedule, begin a trace of their own that links to the one before,
//! which may have ended days ago. Names and attributes follow the semantic conventions of OpenTelemetry for messaging.
//! Records nothing unless a program installs a recorder, see [`base::spans`].

pub use base::spans::{SpanRecorder, TARGET, install};
use base::spans::{SpanStart, begin, fail, is_on};
use tracing::{Span, field::Empty, info_span};

use crate::{envelope::Envelope, records::AttemptOutcome};

/// Value of `error.type` for a job whose publishing was not confirmed.
const UNCONFIRMED: &str = "unconfirmed";

/// The spans of jobs that are being published. They end when this is dropped.
#[must_use = "a span ends when it is dropped"]
pub struct PublishSpans(Vec<Span>);

impl PublishSpans {
    /// Begins the spans of jobs that are published to the engine with this name next; the runs continue them. A job
    /// without a trace continues the current span.
    pub fn begin(jobs: &mut [Envelope], engine: &'static str) -> Self {
        if !is_on() {
            return Self(Vec::new());
        }
        Self(jobs.iter_mut().filter_map(|job| publish_span(job, engine)).collect())
    }

    /// Ends the spans with the result of the publish, which it returns.
    pub fn end<T, E>(self, published: Result<T, E>) -> Result<T, E> {
        if published.is_err() {
            for span in &self.0 {
                fail(span, UNCONFIRMED);
            }
        }
        published
    }
}

/// The span of the publishing of a job, if it is recorded.
fn publish_span(job: &mut Envelope, engine: &'static str) -> Option<Span> {
    let span = info_span!(
        target: TARGET,
        "publish",
        otel.name = %format_args!("publish {}", job.queue),
        otel.kind = "producer",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "messaging.system" = engine,
        "messaging.operation.name" = "publish",
        "messaging.operation.type" = "send",
        "messaging.destination.name" = job.queue.as_str(),
        "messaging.message.id" = %job.id,
        "orderworks.job.kind" = job.kind.as_str(),
    );
    let start = begin(&span, job.trace.as_ref());
    let is_recorded = start.span_id().is_some();
    job.trace = start.trace;
    is_recorded.then_some(span)
}

/// Begins the span of a run; without an engine in the test kit. Without a recorder there is none: the log of a program
/// that records nothing would pay for it, and show its fields twice.
pub(crate) fn run_span(job: &Envelope, attempt: u32, engine: Option<&'static str>) -> (Span, SpanStart) {
    let span = if is_on() { process_span(job, attempt, engine) } else { Span::none() };
    let start = begin(&span, job.trace.as_ref());
    (span, start)
}

fn process_span(job: &Envelope, attempt: u32, engine: Option<&'static str>) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "process",
        otel.name = %format_args!("process {}", job.queue),
        otel.kind = "consumer",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "messaging.system" = engine,
        "messaging.operation.name" = "process",
        "messaging.operation.type" = "process",
        "messaging.destination.name" = job.queue.as_str(),
        "messaging.message.id" = %job.id,
        "orderworks.job.kind" = job.kind.as_str(),
        "orderworks.job.attempt" = i64::from(attempt),
        "orderworks.job.outcome" = Empty,
    )
}

/// Adds the outcome of a run to its span; `None` for a run that its stopping worker has given back.
pub(crate) fn record_outcome(span: &Span, outcome: Option<AttemptOutcome>) {
    span.record("orderworks.job.outcome", outcome.map_or("released", AttemptOutcome::as_str));
    match outcome {
        Some(failed @ (AttemptOutcome::Retried | AttemptOutcome::Dead | AttemptOutcome::Stale)) => {
            fail(span, failed.as_str());
        }
        Some(AttemptOutcome::Completed | AttemptOutcome::Snoozed | AttemptOutcome::Cancelled) | None => {}
    }
}
