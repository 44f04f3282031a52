//! The panic guard: turns a panic into a failed attempt with its message; other jobs are not affected.
//!
//! Not apalis' layer, whose `AbortError` would mean "no retry": a panic is most often a bug that the next deployment
//! fixes, so it is retried like any failure.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use apalis_core::{error::BoxDynError, task::Task};
use tower::Service;

use crate::worker::{failure::Failure, run::Work};

/// Adds the panic guard to the runs of `S`.
#[derive(Debug, Clone)]
pub(crate) struct CatchPanic<S>(pub(crate) S);

impl<S, E> Service<Task<Work<E>>> for CatchPanic<S>
where
    S: Service<Task<Work<E>>, Response = (), Error = BoxDynError>,
    S::Future: Unpin,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Work<E>>) -> Self::Future {
        CatchPanicFuture(Some(self.0.call(task)))
    }
}

/// A run under the panic guard.
pub(crate) struct CatchPanicFuture<F>(Option<F>);

impl<F: Future<Output = Result<(), BoxDynError>> + Unpin> Future for CatchPanicFuture<F> {
    type Output = Result<(), BoxDynError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = self.0.as_mut() else { return Poll::Pending };
        // The run is not used after a panic, so a broken invariant inside cannot be observed.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                let mut message = message_of(panic.as_ref());
                // Dropping the run may panic as well.
                let torn_down = self.0.take();
                if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(torn_down))) {
                    message = format!("{message}; and in a destructor: {}", message_of(second.as_ref()));
                }
                Poll::Ready(Err(Box::new(Failure::Panicked(message))))
            }
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
