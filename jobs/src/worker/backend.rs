//! The apalis backend: feeds the deliveries of a queue's consumers, one consumer after the other, to an apalis worker.
//!
//! Guarantees what apalis requires of a long-lived backend: `poll_next` is never `Err` (which would end the worker and
//! drop its other runs) and never `None` (which would end it silently). No run starts while as many go on as the queue
//! has slots, whose number may change meanwhile. Does no I/O: periodic work is the engine's task.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    layers::Identity,
    task::{Task, builder::TaskBuilder, task_id::RandomId},
    worker::context::WorkerContext,
};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{
    health::QueueState,
    run::{RunSettler, Work},
    running::{RunningId, RunningIds},
    shared::{Stop, WorkerShared},
};
use crate::engine::{Delivery, Interrupt, Settlement, Settler};

/// The current consumer of a queue, shared by the backend, which starts its deliveries, and the session, which replaces
/// it and releases deliveries at a stop. The lock is contended at these moments only.
pub(super) struct Feed {
    stop: Stop,
    queue: Arc<QueueState>,
    running: Arc<RunningIds>,
    source: Mutex<Option<Source>>,
    /// Wakes the worker that waits for a delivery.
    waker: Arc<AtomicWaker>,
}

/// A consumer as its feed sees it.
pub(super) struct Source {
    deliveries: mpsc::Receiver<Delivery>,
    settler: Arc<dyn Settler>,
    /// Deliveries of jobs of which an earlier run continues. Bounded by the prefetch, as they are unsettled.
    aside: Vec<Delivery>,
    /// The runs of its deliveries.
    runs: TaskTracker,
}

impl Feed {
    pub(super) fn new(stop: Stop, queue: Arc<QueueState>, running: Arc<RunningIds>) -> Self {
        let waker = Arc::default();
        running.subscribe(&waker);
        Self { stop, queue, running, source: Mutex::default(), waker }
    }

    /// Takes deliveries from this consumer from now on.
    pub(super) fn connect(&self, deliveries: mpsc::Receiver<Delivery>, settler: Arc<dyn Settler>) {
        let (aside, runs) = (Vec::new(), TaskTracker::new());
        *self.source.lock() = Some(Source { deliveries, settler, aside, runs });
        self.wake();
    }

    /// Takes no further delivery from this consumer; releases those that were not started, as an engine may wait for
    /// each receipt.
    pub(super) fn disconnect(&self) {
        if let Some(source) = &mut *self.source.lock() {
            source.deliveries.close();
        }
        self.hand_back();
        *self.source.lock() = None;
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Releases deliveries that were not started; returns how many. For a consumer that was told to stop.
    pub(super) fn hand_back(&self) -> usize {
        let mut source = self.source.lock();
        let Some(Source { deliveries, settler, aside, .. }) = &mut *source else { return 0 };
        let waiting = aside.drain(..).chain(std::iter::from_fn(|| deliveries.try_recv().ok()));
        waiting.map(|delivery| settler.settle(delivery.receipt, Settlement::Release)).count()
    }

    /// Takes the consumer away, for [`Source::runs_ended`].
    pub(super) fn detach(&self) -> Option<Source> {
        self.source.lock().take()
    }

    /// The next delivery to start, while a slot is free. Stop and gate are checked under the lock: after
    /// [`Feed::hand_back`] no delivery received before it can start. The end of the channel is the session's to notice.
    /// No wake-up is needed when a run ends: its acknowledgement is polled by the worker, which then asks again.
    fn poll(&self, context: &mut Context<'_>) -> Poll<(Delivery, RunningId, RunSettler)> {
        // Before the checks, so that no wake-up in between is missed.
        self.waker.register(context.waker());
        let mut source = self.source.lock();
        if !self.stop.is_asked()
            && !self.queue.gate.is_shut()
            && self.queue.has_room()
            && let Some(source) = &mut *source
            && let Some((delivery, id)) = source.next(&self.running, context)
        {
            self.queue.started(delivery.receipt, delivery.signal.clone());
            let settler = RunSettler::new(&source.settler, &source.runs);
            return Poll::Ready((delivery, id, settler));
        }
        Poll::Pending
    }
}

impl Source {
    /// Waits for the end of the last run, and returns the settler. Releases deliveries that still arrive: an engine may
    /// have been claiming a job when it was told to stop.
    pub(super) async fn runs_ended(self) -> Arc<dyn Settler> {
        let Self { mut deliveries, settler, runs, .. } = self;
        runs.close();
        let late = std::future::poll_fn::<(), _>(|context| {
            while let Poll::Ready(Some(delivery)) = deliveries.poll_recv(context) {
                settler.settle(delivery.receipt, Settlement::Release);
            }
            Poll::Pending
        });
        tokio::select! {
            () = runs.wait() => {}
            () = late => {}
        }
        settler
    }

    /// The next delivery to start, with its id taken; those put aside come first.
    fn next(
        &mut self,
        running: &Arc<RunningIds>,
        context: &mut Context<'_>,
    ) -> Option<(Delivery, RunningId)> {
        let mut started = None;
        for delivery in std::mem::take(&mut self.aside) {
            if started.is_some() {
                self.aside.push(delivery);
            } else {
                started = self.start(delivery, running);
            }
        }
        while started.is_none()
            && let Poll::Ready(Some(delivery)) = self.deliveries.poll_recv(context)
        {
            started = self.start(delivery, running);
        }
        started
    }

    /// Takes the id for a run of the delivery. One that was cancelled or lost its lease while it waited is settled; one
    /// of a job that still runs here is put aside.
    fn start(&mut self, delivery: Delivery, running: &Arc<RunningIds>) -> Option<(Delivery, RunningId)> {
        if let Some(settlement) = settlement_without_run(&delivery) {
            self.settler.settle(delivery.receipt, settlement);
            return None;
        }
        if let Some(id) = running.take(delivery.receipt.job) {
            return Some((delivery, id));
        }
        tracing::debug!(job.id = %delivery.receipt.job, "job still runs here, next run waits");
        self.aside.push(delivery);
        None
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
        // Fired by runs alone.
        Interrupt::SoftTimeout => None,
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

    /// Starts a run: apalis calls a task at once.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        self.feed.poll(cx).map(|(delivery, id, settler)| {
            let WorkerShared { registry, env, ambient, reporter, .. } = &*self.shared;
            let work = Work::new(delivery, Some((settler, id)), reporter.as_ref(), registry, env, ambient);
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
