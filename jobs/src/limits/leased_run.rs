//! A run under a lease: a slot of a limit, held while the job runs.
//!
//! Guarantees: the job is not polled after the end of the lease, and dropped then also if nothing wakes it. The slot is
//! free once the job is dropped.

use std::{future::poll_fn, pin::pin, task::Poll};

use futures::{FutureExt, future::BoxFuture};

use super::limiter::LimitSlot;
use crate::{
    engine::{Interrupt, JobSignal},
    failure::Failure,
};

/// Runs a job while the lease of its slot lasts; after its end fires the signal and drops the job.
pub(crate) async fn while_leased(
    slot: LimitSlot,
    signal: JobSignal,
    mut job: BoxFuture<'static, Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut over = pin!(slot.term().over());
    poll_fn(|context| {
        // Before each poll: a process that was held up finds timer and job ready in any order.
        if slot.term().is_over() || over.as_mut().poll(context).is_ready() {
            signal.fire(Interrupt::LeaseLost);
            return Poll::Ready(Err(Failure::LimitLost));
        }
        job.poll_unpin(context)
    })
    .await
}
