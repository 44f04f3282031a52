//! Recorder of spans: contexts of W3C texts to contexts of OpenTelemetry and back.

use base::{TraceContext, spans::SpanRecorder};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Records through the layer of the process's subscriber.
pub(super) struct OtelRecorder;

impl SpanRecorder for OtelRecorder {
    fn continue_trace(&self, span: &Span, parent: &TraceContext) {
        if let Some(remote) = remote(parent) {
            // Fails for a disabled span only, which is not recorded anyway.
            let _ = span.set_parent(Context::new().with_remote_span_context(remote));
        }
    }

    fn link(&self, span: &Span, to: &TraceContext) {
        // The first of its trace, whichever span is current.
        let _ = span.set_parent(Context::new());
        if let Some(remote) = remote(to) {
            span.add_link(remote);
        }
    }

    fn start(&self, span: &Span) -> Option<TraceContext> {
        let context = span.context();
        let started = context.span();
        let of_span = started.span_context();
        if !of_span.is_valid() {
            return None;
        }
        let (trace, id, sampled) = (of_span.trace_id(), of_span.span_id(), u8::from(of_span.is_sampled()));
        format!("00-{trace}-{id}-{sampled:02x}").parse().ok()
    }
}

/// The context of another process's span. `tracestate` is not part of it: it passes on as text, see
/// [`base::spans::begin`].
fn remote(trace: &TraceContext) -> Option<SpanContext> {
    let trace_id = TraceId::from_hex(&trace.trace_id()).ok()?;
    let span_id = SpanId::from_hex(trace.span_id()).ok()?;
    // Flags that this release does not know are not to be passed on.
    let flags = TraceFlags::default().with_sampled(trace.is_sampled());
    Some(SpanContext::new(trace_id, span_id, flags, true, TraceState::default()))
}
