//! The apalis backend: feeds the deliveries of a queue's consumers, one consumer after the other, to an apalis worker.
//!
//! Guarantees what apalis requires of a long-lived backend: `poll_next` is never `Err` (which would end the worker and
//! drop its other runs) and never `None` (which would end it silently). Does no I/O: apalis polls a backend only while
//! a slot is free, so periodic work is the engine's task.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    layers::Identity,
    task::{Task, builder::TaskBuilder, task_id::RandomId},
    worker::context::WorkerContext,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    health::QueueState,
    run::Work,
    shared::{Stop, WorkerShared},
};
use crate::engine::{Delivery, Interrupt, Settlement, Settler};

/// The current consumer of a queue, shared by the backend, which starts its deliveries, and the session, which replaces
/// it and releases deliveries at a stop. The lock is contended at these moments only.
pub(super) struct Feed {
    stop: Stop,
    queue: Arc<QueueState>,
    state: Mutex<FeedState>,
}

#[derive(Default)]
struct FeedState {
    source: Option<(mpsc::Receiver<Delivery>, Arc<dyn Settler>)>,
    /// The worker's, while it waits for a delivery.
    waker: Option<Waker>,
}

impl Feed {
    pub(super) fn new(stop: Stop, queue: Arc<QueueState>) -> Self {
        Self { stop, queue, state: Mutex::default() }
    }

    /// Takes deliveries from this consumer from now on.
    pub(super) fn connect(&self, deliveries: mpsc::Receiver<Delivery>, settler: Arc<dyn Settler>) {
        self.state.lock().source = Some((deliveries, settler));
        self.wake();
    }

    /// Takes no further delivery from this consumer; releases those that were not started, as an engine may wait for
    /// each receipt.
    pub(super) fn disconnect(&self) {
        if let Some((deliveries, _)) = &mut self.state.lock().source {
            deliveries.close();
        }
        self.hand_back();
        self.state.lock().source = None;
    }

    pub(super) fn wake(&self) {
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Releases deliveries that were not started; returns how many. For a consumer that was told to stop.
    pub(super) fn hand_back(&self) -> usize {
        let mut state = self.state.lock();
        let Some((deliveries, settler)) = &mut state.source else { return 0 };
        let waiting = std::iter::from_fn(|| deliveries.try_recv().ok());
        waiting.map(|delivery| settler.settle(delivery.receipt, Settlement::Release)).count()
    }

    /// Releases deliveries that still arrive: an engine may have been claiming a job when it was told to stop. Never
    /// returns.
    pub(super) async fn hand_back_late(&self) {
        std::future::poll_fn::<(), _>(|context| {
            let mut state = self.state.lock();
            let Some((deliveries, settler)) = &mut state.source else { return Poll::Pending };
            while let Poll::Ready(Some(delivery)) = deliveries.poll_recv(context) {
                settler.settle(delivery.receipt, Settlement::Release);
            }
            Poll::Pending
        })
        .await;
    }

    /// The next delivery to start. Stop and gate are checked under the lock: after [`Feed::hand_back`] no delivery
    /// received before it can start. One that was cancelled or lost its lease while it waited here is settled instead.
    /// The end of the channel is the session's to notice.
    fn poll(&self, context: &mut Context<'_>) -> Poll<(Delivery, Arc<dyn Settler>)> {
        let mut state = self.state.lock();
        if !self.stop.is_asked()
            && !self.queue.gate.is_shut()
            && let Some((deliveries, settler)) = &mut state.source
        {
            while let Poll::Ready(Some(delivery)) = deliveries.poll_recv(context) {
                if let Some(settlement) = settlement_without_run(&delivery) {
                    settler.settle(delivery.receipt, settlement);
                    continue;
                }
                self.queue.started(delivery.receipt, delivery.signal.clone());
                return Poll::Ready((delivery, Arc::clone(settler)));
            }
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Settlement of a delivery whose signal fired before its start; `None` for one to run.
fn settlement_without_run(delivery: &Delivery) -> Option<Settlement> {
    let (id, kind) = (delivery.envelope.id, delivery.envelope.kind.as_str());
    match delivery.signal.interrupt()? {
        Interrupt::Cancelled => {
            tracing::info!(job.id = %id, job.kind = kind, "job cancelled before its start");
            Some(Settlement::Cancelled { error: "cancelled before its start".to_owned() })
        }
        // After a lost lease the engine drops and counts it; the job runs elsewhere.
        Interrupt::LeaseLost | Interrupt::Shutdown => {
            tracing::debug!(job.id = %id, job.kind = kind, "delivery without a lease not started");
            Some(Settlement::Release)
        }
    }
}

pub(super) struct DeliveryBackend<E> {
    pub(super) feed: Arc<Feed>,
    pub(super) shared: Arc<WorkerShared<E>>,
}

impl<E: Clone + Send + Sync + 'static> Backend for DeliveryBackend<E> {
    type Task = Task<Work>;
    type Error = Infallible;

    fn poll_ready(&mut self, _cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Starts a run: apalis asks for a task only when a slot is free and calls it at once.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        self.feed.poll(cx).map(|(delivery, settler)| {
            let WorkerShared { registry, env, ambient, .. } = &*self.shared;
            let work = Work::new(delivery, Some(settler), registry, env, ambient);
            let run = Arc::clone(&work.run);
            Some(Ok(TaskBuilder::new(work).data(run).build()))
        })
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl<E> BackendConfig for DeliveryBackend<E> {
    type Args = Work;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _worker: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
