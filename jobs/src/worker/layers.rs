//! The layers around every run, outermost first: apalis' tracing span and its panic guard.
//!
//! Workers and test kit use the same ones. Around them, in a worker only, are acknowledgement and a task per job, see
//! `runner`. All are apalis' own (1.0), with three exceptions:
//! - The concurrency limit. That of apalis (tower's) is fixed when the worker is built; ours is the backend's, see
//!   `backend`.
//! - The timeout. That of apalis (tower's) is one duration for a worker, ours is a constant of the kind: see
//!   [`Work::execute`].
//! - The error of a panic. The one apalis makes by default means "never again"; a panic is most often a bug that the
//!   next deployment fixes, so it is retried like any failure. A panic in a destructor is caught by the job's task.

use std::any::Any;

use apalis::layers::{catch_panic::CatchPanicLayer, tracing::TraceLayer};
use apalis_core::task::Task;
use tower::layer::util::Stack;
use tracing::{Span, info_span};

use super::run::Work;
use crate::failure::Failure;

type PanicHandler = fn(&Box<dyn Any + Send>) -> Failure;
type MakeSpan = fn(&Task<Work>) -> Span;
type OnRequest = fn(&Task<Work>, &Span);

pub(crate) type JobLayers =
    Stack<CatchPanicLayer<PanicHandler, Failure>, TraceLayer<MakeSpan, OnRequest, (), ()>>;

pub(crate) fn job_layers() -> JobLayers {
    let on_panic: PanicHandler = |panic| panicked(panic.as_ref());
    let make_span: MakeSpan = span_of;
    let on_request: OnRequest = |_, _| {};
    // Without apalis' events at start and end of a run: the end is logged with its settlement, see `ack`.
    let span = TraceLayer::new().make_span_with(make_span).on_request(on_request);
    let span = span.on_response(()).on_failure(());
    Stack::new(CatchPanicLayer::with_panic_handler(on_panic), span)
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Failure::Panicked(text.unwrap_or_else(|| "no message".to_owned()))
}

/// The span `job`, which adds the job's id, trace and recorded span to all its log lines; never the payload. Values are
/// evaluated only for an enabled span, so a disabled one costs almost nothing.
fn span_of(task: &Task<Work>) -> Span {
    let (run, envelope) = (&task.args.run, &task.args.run.envelope);
    info_span!(
        "job",
        job.id = %envelope.id,
        job.kind = %envelope.kind,
        job.queue = %envelope.queue,
        job.attempt = run.attempt(),
        trace.id = run.traced.trace.as_ref().map(|trace| tracing::field::display(trace.trace_id())),
        span.id = run.traced.span_id(),
    )
}
