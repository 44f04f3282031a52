//! The tracing span `job` around a run, which adds the job's id and trace to all its log lines.
//!
//! Fields: `job.id`, `job.kind`, `job.queue`, `job.attempt`, `trace.id`. Never the payload.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use apalis_core::{error::BoxDynError, task::Task};
use tower::Service;
use tracing::{Span, info_span};

use crate::worker::run::{Run, Work};

/// Adds the span to the runs of `S`.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<S>(pub(crate) S);

impl<S, E> Service<Task<Work<E>>> for Spanned<S>
where
    S: Service<Task<Work<E>>, Response = (), Error = BoxDynError>,
    S::Future: Unpin,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = SpannedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Work<E>>) -> Self::Future {
        let span = span_of(&task.args.run);
        let inner = self.0.call(task);
        SpannedFuture { inner, span }
    }
}

/// A run in its span.
pub(crate) struct SpannedFuture<F> {
    inner: F,
    span: Span,
}

impl<F: Future + Unpin> Future for SpannedFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _entered = this.span.enter();
        Pin::new(&mut this.inner).poll(cx)
    }
}

/// Values are evaluated only for an enabled span, so a disabled one costs almost nothing.
fn span_of(run: &Run) -> Span {
    let envelope = &run.envelope;
    info_span!(
        "job",
        job.id = %envelope.id,
        job.kind = %envelope.kind,
        job.queue = %envelope.queue,
        job.attempt = run.attempt(),
        trace.id = envelope.trace.map(|trace| tracing::field::display(trace.trace_id())),
    )
}
