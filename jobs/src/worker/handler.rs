//! The innermost service: calls the run function registered for the kind.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use apalis_core::{error::BoxDynError, task::Task};
use base::Ambient;
use futures::{
    FutureExt,
    future::{BoxFuture, MapErr, TryFutureExt, ready},
};
use tower::Service;

use super::{
    failure::Failure,
    run::{Run, Work},
};
use crate::job::JobContext;

/// Runs jobs in one environment.
#[derive(Clone)]
pub(crate) struct Handler<E> {
    pub(crate) env: E,
    pub(crate) ambient: Ambient,
}

impl<E: Clone + Send + Sync + 'static> Handler<E> {
    fn context(&self, run: &Run) -> JobContext<E> {
        JobContext {
            env: self.env.clone(),
            id: run.envelope.id,
            attempt: run.attempt(),
            max_attempts: run.envelope.max_attempts,
            created_at: run.envelope.created_at,
            trace: run.envelope.trace,
            signal: run.signal.clone(),
            ambient: self.ambient.clone(),
        }
    }
}

impl<E: Clone + Send + Sync + 'static> Service<Task<Work<E>>> for Handler<E> {
    type Response = ();
    type Error = BoxDynError;
    type Future = MapErr<BoxFuture<'static, Result<(), Failure>>, fn(Failure) -> BoxDynError>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Work<E>>) -> Self::Future {
        let Work { run, handler } = task.args;
        let future = match handler {
            Some(handler) => handler(self.context(&run), Arc::clone(&run.envelope)),
            None => ready(Err(Failure::UnknownKind(run.envelope.kind.clone()))).boxed(),
        };
        future.map_err(boxed as fn(Failure) -> BoxDynError)
    }
}

fn boxed(failure: Failure) -> BoxDynError {
    Box::new(failure)
}
