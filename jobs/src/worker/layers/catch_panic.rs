//! Turns a panic into a failed attempt and keeps its message; the jobs beside it run on.
//!
//! Our own rather than apalis' layer, whose `AbortError` would read as "never again": a panic is most often a
//! bug that the next deployment mends, so it is retried like any failure.

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

/// Guards `S`.
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

/// A guarded run.
pub(crate) struct CatchPanicFuture<F>(Option<F>);

impl<F: Future<Output = Result<(), BoxDynError>> + Unpin> Future for CatchPanicFuture<F> {
    type Output = Result<(), BoxDynError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = self.0.as_mut() else { return Poll::Pending };
        // Nothing of the run is looked at after a panic, so a broken invariant inside cannot be seen.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                let mut message = message_of(panic.as_ref());
                // A destructor may panic as well, while the run is torn down.
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
