//! The deadline: drops a run at an await point once the timeout of its kind has passed.
//!
//! The timer is created only when a run first waits: most runs never do. Does not interrupt code that computes without
//! awaiting, which is not possible within one thread.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{error::BoxDynError, task::Task};
use tokio::time::{Sleep, sleep};
use tower::Service;

use crate::worker::{failure::Failure, run::Work};

/// Limits the runs of `S` to the timeout of their kind.
#[derive(Debug, Clone)]
pub(crate) struct Deadline<S>(pub(crate) S);

impl<S, E> Service<Task<Work<E>>> for Deadline<S>
where
    S: Service<Task<Work<E>>, Response = (), Error = BoxDynError>,
    S::Future: Unpin,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Work<E>>) -> Self::Future {
        let limit = task.args.run.policy.timeout;
        DeadlineFuture { inner: self.0.call(task), limit, timer: None }
    }
}

/// A run with a deadline.
pub(crate) struct DeadlineFuture<F> {
    inner: F,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = Result<(), BoxDynError>> + Unpin> Future for DeadlineFuture<F> {
    type Output = Result<(), BoxDynError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(result) = Pin::new(&mut self.inner).poll(cx) {
            return Poll::Ready(result);
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(Failure::TimedOut(limit).into()))
    }
}
