//! Recorded spans: the bridge between spans of `tracing` and the trace contexts that requests, jobs and webhooks carry.
//!
//! Work of a trace begins with a span of the target [`TARGET`] that is passed to [`begin`], and goes on with the
//! context that it returns. Guarantees: without a [`SpanRecorder`] nothing is recorded and the span is a disabled call
//! site; a trace that is not recorded passes on unchanged. Knows neither sampling nor a protocol: those are the
//! recorder's, which the program installs.
//!
//! Names, kinds and outcome of spans are fields by the rules of `tracing-opentelemetry`: `otel.name`, `otel.kind`,
//! `otel.status_code`; all other fields are attributes, named by the semantic conventions of OpenTelemetry where they
//! have a name. No field holds personal data, a secret or a text without bound.

use std::sync::OnceLock;

use tracing::Span;

use crate::TraceContext;

/// Target of recorded spans. Log lines have spans of their own, so that a log filter decides about those alone.
pub const TARGET: &str = "orderworks_trace";

static RECORDER: OnceLock<Box<dyn SpanRecorder>> = OnceLock::new();

/// Records spans of the target [`TARGET`].
pub trait SpanRecorder: Send + Sync + 'static {
    /// Makes the span, which has not started, continue the trace.
    fn continue_trace(&self, span: &Span, parent: &TraceContext);

    /// Makes the span, which has not started, the first of a new trace that points at another one.
    fn link(&self, span: &Span, to: &TraceContext);

    /// Starts the span and returns its context, whether it is sampled or not; `None` for a span that is not recorded
    /// for another reason.
    fn start(&self, span: &Span) -> Option<TraceContext>;
}

/// A span that has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanStart {
    /// Trace for all that the span causes. `None` where none was given and no recorder is installed.
    pub trace: Option<TraceContext>,
    is_recorded: bool,
}

impl SpanStart {
    /// Id of the span, for log lines; `None` for a span that is not recorded.
    pub fn span_id(&self) -> Option<&str> {
        self.recorded().map(TraceContext::span_id)
    }

    /// The trace in which the span is recorded; `None` for a span that is not.
    pub fn recorded(&self) -> Option<&TraceContext> {
        self.trace.as_ref().filter(|_| self.is_recorded)
    }
}

/// Installs the recorder of the process; a second one is dropped.
pub fn install(recorder: Box<dyn SpanRecorder>) {
    drop(RECORDER.set(recorder));
}

/// Whether spans are recorded, for callers that save work where they are not.
pub fn is_on() -> bool {
    RECORDER.get().is_some()
}

/// Begins a span that continues this trace, or links to it; without one, as a child of the current span, or as the
/// first of a new trace.
pub fn begin(span: &Span, from: Option<&TraceContext>) -> SpanStart {
    let Some(recorder) = RECORDER.get() else { return passed_on(from, None) };
    match from {
        Some(trace) if trace.is_link() => recorder.link(span, trace),
        Some(trace) => recorder.continue_trace(span, trace),
        None => {}
    }
    passed_on(from, recorder.start(span))
}

/// Marks the span as failed. `error_type` is one of few values, known in advance.
pub fn fail(span: &Span, error_type: &str) {
    span.record("error.type", error_type);
    span.record("otel.status_code", "ERROR");
}

/// The trace for what a span causes, by the one it came from and its own context.
fn passed_on(from: Option<&TraceContext>, own: Option<TraceContext>) -> SpanStart {
    let parent = from.filter(|trace| !trace.is_link());
    match (own, parent) {
        (Some(own), _) if own.is_sampled() => {
            SpanStart { trace: Some(own.with_state(parent.and_then(TraceContext::state))), is_recorded: true }
        }
        // The first span of a trace tells the others that it is not recorded: they would decide again.
        (Some(own), None) => SpanStart { trace: Some(own), is_recorded: false },
        _ => SpanStart { trace: from.cloned(), is_recorded: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(flags: &str) -> TraceContext {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        parent.parse().expect("valid by the standard")
    }

    #[test]
    fn without_a_recorder_a_trace_passes_unchanged() {
        for from in [None, Some(trace("00")), Some(trace("ff")), Some(trace("01").linked())] {
            let start = begin(&Span::none(), from.as_ref());
            assert_eq!((start.span_id(), &start.trace), (None, &from));
        }
    }

    #[test]
    fn a_recorded_span_is_the_parent_of_what_follows() {
        let (from, own) =
            (trace("01").with_state(["vendor=1"]), TraceContext::fresh(&crate::Ambient::system()));
        let start = passed_on(Some(&from), Some(own.clone()));
        assert_eq!(start.span_id(), Some(own.span_id()));
        assert_eq!(start.recorded(), start.trace.as_ref());
        assert_eq!(start.trace, Some(own.with_state(["vendor=1"])));
    }

    #[test]
    fn a_trace_that_its_caller_does_not_record_passes_unchanged() {
        let (from, own) = (trace("00").with_state(["vendor=1"]), trace("00"));
        let start = passed_on(Some(&from), Some(own));
        assert_eq!((start.span_id(), start.recorded(), &start.trace), (None, None, &Some(from)));
    }

    #[test]
    fn a_new_trace_that_is_not_recorded_says_so_to_what_follows() {
        let (link, own) = (trace("01").linked(), trace("00"));
        for from in [None, Some(&link)] {
            let start = passed_on(from, Some(own.clone()));
            assert_eq!((start.span_id(), &start.trace), (None, &Some(own.clone())));
        }
    }

    #[test]
    fn a_link_gives_no_state_to_the_trace_that_points_at_it() {
        let (link, own) = (trace("01").with_state(["vendor=1"]).linked(), trace("01"));
        assert_eq!(passed_on(Some(&link), Some(own.clone())).trace, Some(own));
    }
}
