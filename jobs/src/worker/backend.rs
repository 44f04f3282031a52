//! The apalis backend: feeds the deliveries of a queue's consumers, one consumer after the other, to an apalis worker.
//!
//! Guarantees what apalis requires of a long-lived backend: `poll_next` is never `Err` (which would end the worker and
//! drop its other runs) and never `None` (which would end it silently). No run starts while as many go on as the queue
//! has slots, whose number may change meanwhile, nor without a slot of the limit of its kind, see [`crate::limits`].
//! Does no I/O: periodic work is the engine's task, and that of the limits' keeper.

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
    run::{RunParts, RunSettler, Work},
    running::{RunningId, RunningIds},
    shared::{Stop, WorkerShared},
};
use crate::{
    engine::{DeadReason, Delivery, Interrupt, Settlement, Settler},
    limits::{LimitKey, LimitSlot, Limiter, Parking, Take},
};

/// The current consumer of a queue, shared by the backend, which starts its deliveries, and the session, which replaces
/// it and releases deliveries at a stop. The lock is contended at these moments only.
pub(super) struct Feed {
    stop: Stop,
    queue: Arc<QueueState>,
    running: Arc<RunningIds>,
    limiter: Option<Arc<Limiter>>,
    /// Name of the engine.
    engine: &'static str,
    source: Mutex<Option<Source>>,
    /// Wakes the worker that waits for a delivery.
    waker: Arc<AtomicWaker>,
}

/// A consumer as its feed sees it.
pub(super) struct Source {
    deliveries: mpsc::Receiver<Delivery>,
    settler: Arc<dyn Settler>,
    /// Deliveries of jobs of which an earlier run continues, or whose limit is being asked for. Bounded by the
    /// prefetch, as they are unsettled.
    aside: Vec<LimitedDelivery>,
    /// The runs of its deliveries.
    runs: TaskTracker,
}

/// A delivery with the key of its limit, decoded once.
struct LimitedDelivery {
    delivery: Delivery,
    key: Option<LimitKey>,
}

/// A delivery that starts.
struct Start {
    delivery: Delivery,
    id: RunningId,
    slot: Option<LimitSlot>,
}

/// What decides about the start of a delivery beside its queue: the jobs that run, and the limits.
#[derive(Clone, Copy)]
struct Guards<'a> {
    running: &'a Arc<RunningIds>,
    limiter: Option<&'a Arc<Limiter>>,
}

impl Feed {
    pub(super) fn new(
        stop: Stop,
        queue: Arc<QueueState>,
        running: Arc<RunningIds>,
        limiter: Option<Arc<Limiter>>,
        engine: &'static str,
    ) -> Self {
        let waker = Arc::default();
        running.subscribe(&waker);
        if let Some(limiter) = &limiter {
            limiter.subscribe(&waker);
        }
        Self { stop, queue, running, limiter, engine, source: Mutex::default(), waker }
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
        let aside = aside.drain(..).map(|waiting| waiting.delivery);
        let waiting = aside.chain(std::iter::from_fn(|| deliveries.try_recv().ok()));
        waiting.map(|delivery| settler.settle(delivery.receipt, Settlement::Release)).count()
    }

    /// Takes the consumer away, for [`Source::runs_ended`].
    pub(super) fn detach(&self) -> Option<Source> {
        self.source.lock().take()
    }

    /// The next delivery to start, while a slot is free. Stop and gate are checked under the lock: after
    /// [`Feed::hand_back`] no delivery received before it can start. The end of the channel is the session's to notice.
    /// No wake-up is needed when a run ends: its acknowledgement is polled by the worker, which then asks again.
    fn poll(&self, context: &mut Context<'_>) -> Poll<(Delivery, RunParts)> {
        // Before the checks, so that no wake-up in between is missed.
        self.waker.register(context.waker());
        let guards = Guards { running: &self.running, limiter: self.limiter.as_ref() };
        let mut source = self.source.lock();
        if !self.stop.is_asked()
            && !self.queue.gate.is_shut()
            && self.queue.has_room()
            && let Some(source) = &mut *source
            && let Some(Start { delivery, id, slot }) = source.next(guards, context)
        {
            self.queue.started(delivery.receipt, delivery.signal.clone());
            let settler = RunSettler::new(&source.settler, &source.runs);
            return Poll::Ready((delivery, RunParts { settler, id, slot, engine: self.engine }));
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

    /// The next delivery to start, with its id and slot taken; those put aside come first.
    fn next(&mut self, guards: Guards<'_>, context: &mut Context<'_>) -> Option<Start> {
        let mut started = None;
        let mut aside = std::mem::take(&mut self.aside).into_iter();
        while started.is_none()
            && let Some(waiting) = aside.next()
        {
            started = self.start(waiting, guards);
        }
        self.aside.extend(aside);
        while started.is_none()
            && let Poll::Ready(Some(delivery)) = self.deliveries.poll_recv(context)
        {
            let received = self.receive(delivery, guards.limiter);
            started = received.and_then(|received| self.start(received, guards));
        }
        started
    }

    /// Decodes the key of a delivery of a kind with a limit. With a bad key the job is dead.
    fn receive(&self, delivery: Delivery, limiter: Option<&Arc<Limiter>>) -> Option<LimitedDelivery> {
        let Some(limiter) = limiter else { return Some(LimitedDelivery { delivery, key: None }) };
        match limiter.key_of(&delivery.envelope) {
            Ok(key) => Some(LimitedDelivery { delivery, key }),
            Err(error) => {
                let (id, kind) = (delivery.envelope.id, delivery.envelope.kind.as_str());
                tracing::error!(job.id = %id, job.kind = kind, error, "job moved to the dead queue");
                let dead = Settlement::Dead { reason: DeadReason::Undecodable, error };
                self.settler.settle(delivery.receipt, dead);
                None
            }
        }
    }

    /// Takes id and slot for a run of the delivery. One that was cancelled or lost its lease while it waited is
    /// settled; one of a job that still runs here, or whose limit is being asked for, is put aside; one whose limit is
    /// full leaves.
    fn start(&mut self, waiting: LimitedDelivery, guards: Guards<'_>) -> Option<Start> {
        let receipt = waiting.delivery.receipt;
        if let Some(settlement) = settlement_without_run(&waiting.delivery) {
            self.settler.settle(receipt, settlement);
            return None;
        }
        let Some(id) = guards.running.take(receipt.job) else {
            tracing::debug!(job.id = %receipt.job, "job still runs here, next run waits");
            self.aside.push(waiting);
            return None;
        };
        let (Some(limiter), Some(key)) = (guards.limiter, &waiting.key) else {
            return Some(Start { delivery: waiting.delivery, id, slot: None });
        };
        match limiter.take(key, receipt.job) {
            Take::Start(slot) => return Some(Start { delivery: waiting.delivery, id, slot }),
            Take::Wait => self.aside.push(waiting),
            Take::Full => {
                let settler = Arc::clone(&self.settler);
                limiter.park(Parking { key: key.clone(), receipt, settler });
            }
            Take::Away => self.settler.settle(receipt, Settlement::Snooze { at: limiter.away_until() }),
        }
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
        self.feed.poll(cx).map(|(delivery, parts)| {
            let WorkerShared { registry, env, ambient, reporter, .. } = &*self.shared;
            let work = Work::new(delivery, Some(parts), reporter.as_ref(), registry, env, ambient);
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
