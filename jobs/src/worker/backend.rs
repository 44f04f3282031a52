//! The apalis backend: feeds an engine's deliveries to an apalis worker.
//!
//! Guarantees what apalis requires of a long-lived backend: `poll_next` is never `Err` (which would end the worker and
//! drop its other runs) and never `None` (which would end it silently). Payloads are decoded in the run, where a
//! failure is an outcome like any other. Does no I/O: apalis polls a backend only while a slot is free, so periodic
//! work is the engine's task.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::{Task, builder::TaskBuilder, task_id::RandomId},
    worker::{context::WorkerContext, ext::ack::AcknowledgeLayer},
};
use base::Ambient;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{ack::Ack, health::QueueState, run::Work, supervise::Stop};
use crate::{
    engine::{Delivery, Settlement, Settler},
    registry::Registry,
};

/// The delivery channel of a consumer, shared by the backend, which starts jobs, and the session, which releases them
/// at a stop. The lock is contended at that moment only.
pub(super) struct Deliveries(Mutex<mpsc::Receiver<Delivery>>);

impl Deliveries {
    pub(super) fn new(deliveries: mpsc::Receiver<Delivery>) -> Self {
        Self(Mutex::new(deliveries))
    }

    /// Releases deliveries that were not started; returns how many. For a consumer that was told to stop.
    pub(super) fn hand_back(&self, settler: &dyn Settler) -> usize {
        let mut deliveries = self.lock();
        let waiting = std::iter::from_fn(|| deliveries.try_recv().ok());
        waiting.map(|delivery| settler.settle(delivery.receipt, Settlement::Release)).count()
    }

    /// Releases deliveries that still arrive: an engine may have been claiming a job when it was told to stop. Never
    /// returns.
    pub(super) async fn hand_back_late(&self, settler: &dyn Settler) {
        while let Some(delivery) = std::future::poll_fn(|context| self.poll(context)).await {
            settler.settle(delivery.receipt, Settlement::Release);
        }
        std::future::pending::<()>().await;
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.lock().poll_recv(context)
    }

    fn lock(&self) -> MutexGuard<'_, mpsc::Receiver<Delivery>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue's deliveries as an apalis backend.
pub(super) struct DeliveryBackend<E> {
    pub(super) deliveries: Arc<Deliveries>,
    /// Cancelled when the engine has closed the channel for good.
    pub(super) dried: CancellationToken,
    pub(super) stop: Stop,
    pub(super) registry: Arc<Registry<E>>,
    pub(super) queue: Arc<QueueState>,
    pub(super) ack: Ack,
    pub(super) ambient: Ambient,
}

impl<E: Clone + Send + Sync + 'static> DeliveryBackend<E> {
    /// Starts the run: apalis asks for a task only when a slot is free and calls it at once.
    fn start(&self, delivery: Delivery) -> Task<Work<E>> {
        self.queue.started(delivery.receipt, delivery.signal.clone());
        let work = Work::start(delivery, &self.registry, &self.ambient);
        let run = Arc::clone(&work.run);
        TaskBuilder::new(work).data(run).build()
    }
}

impl<E: Clone + Send + Sync + 'static> Backend for DeliveryBackend<E> {
    type Task = Task<Work<E>>;
    type Error = Infallible;

    fn poll_ready(&mut self, _cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        // Checked here as well as in the session, which checks stop and gate only after the worker was polled: no run
        // may start between the two. No waker is needed: stop and gate wake the session's task.
        if self.stop.is_asked() || self.queue.gate.is_shut() {
            return Poll::Pending;
        }
        match self.deliveries.poll(cx) {
            Poll::Ready(Some(delivery)) => Poll::Ready(Some(Ok(self.start(delivery)))),
            Poll::Ready(None) => {
                self.dried.cancel();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl<E> BackendConfig for DeliveryBackend<E> {
    type Args = Work<E>;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = AcknowledgeLayer<Ack>;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _worker: &mut WorkerContext) -> Self::Layer {
        AcknowledgeLayer::new(self.ack.clone())
    }
}
