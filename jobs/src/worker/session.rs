//! A worker session of one queue: declare, consume, run, stop in order.
//!
//! Carries out the stop order described at [`super`]. A session that fails drops its consumer without closing it, so
//! that a job which takes its worker down is charged a crash.

use std::{future::Future, pin::Pin, sync::Arc};

use apalis_core::{
    error::WorkerError as ApalisError,
    worker::{builder::WorkerBuilder, context::WorkerContext},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::limit::ConcurrencyLimitLayer;

use super::{
    CLOSE_MAX, SHUTDOWN_GRACE,
    ack::{Ack, AckParts},
    backend::{Deliveries, DeliveryBackend},
    handler::Handler,
    health::QueueState,
    layers::JobLayers,
    prefetch_for,
    supervise::{SessionError, Stop, WorkerShared},
};
use crate::engine::{ConsumeOptions, Consumer, EngineError, Interrupt, QueueSpec, Settler};

/// End of a session that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// A stop was requested.
    Stopped,
    /// The queue's gate was closed.
    HeldBack,
}

/// Runs jobs of the queue until a stop, a closed gate or a failure.
pub(super) async fn run<E: Clone + Send + Sync + 'static>(
    shared: Arc<WorkerShared<E>>,
    queue: Arc<QueueState>,
) -> Result<SessionEnd, SessionError> {
    let consumer = tokio::select! {
        consumer = consume(&shared, &queue) => consumer?,
        () = shared.stop.asked() => return Ok(SessionEnd::Stopped),
        () = queue.gate.shut() => return Ok(SessionEnd::HeldBack),
    };
    let settler = Arc::clone(&consumer.settler);
    queue.attach(&settler);
    tracing::info!(job.queue = %queue.name, concurrency = queue.concurrency, "worker started");
    let mut worker = Worker::start(&shared, &queue, consumer);
    let outcome = worker.drive(&shared.stop, &queue, settler.as_ref()).await;
    // Kept until the settler is closed, see `Worker::deliveries`.
    let _deliveries = worker.end();
    let end = outcome?;
    let released = queue.release_unfinished(settler.as_ref());
    close(&queue, settler.as_ref(), released).await;
    Ok(end)
}

async fn consume<E>(shared: &WorkerShared<E>, queue: &QueueState) -> Result<Consumer, EngineError> {
    let options = ConsumeOptions {
        name: format!("{}/{}", shared.name, queue.name),
        prefetch: prefetch_for(queue.concurrency),
        lease: shared.lease,
    };
    shared.engine.declare(&[QueueSpec::new(&queue.name)]).await?;
    shared.engine.consume(&queue.name, options).await
}

async fn close(queue: &QueueState, settler: &dyn Settler, released: usize) {
    match timeout(CLOSE_MAX, settler.close()).await {
        Ok(Ok(())) => tracing::info!(job.queue = %queue.name, released, "worker stopped"),
        // No job is lost: unsettled jobs are delivered again when the lease ends.
        Ok(Err(error)) => tracing::warn!(job.queue = %queue.name, %error, "consumer close failed"),
        Err(_) => {
            tracing::warn!(job.queue = %queue.name, "consumer close timed out");
        }
    }
}

/// An apalis worker and the handles to end it.
struct Worker {
    running: Pin<Box<dyn Future<Output = Result<(), ApalisError>> + Send>>,
    context: WorkerContext,
    dried: CancellationToken,
    /// Kept apart from the backend, which apalis drops with the worker: without a receiver, an engine might consider
    /// the consumer dead while its last settlements are being made durable.
    deliveries: Arc<Deliveries>,
}

impl Worker {
    fn start<E: Clone + Send + Sync + 'static>(
        shared: &WorkerShared<E>,
        queue: &Arc<QueueState>,
        consumer: Consumer,
    ) -> Self {
        let deliveries = Arc::new(Deliveries::new(consumer.deliveries));
        let dried = CancellationToken::new();
        let name = format!("{}/{}", shared.name, queue.name);
        let recorder = shared.recorder.clone();
        let ack = Ack(Arc::new(AckParts {
            settler: consumer.settler,
            queue: Arc::clone(queue),
            ambient: shared.ambient.clone(),
            worker: shared.name.clone(),
            recording: recorder.map(|recorder| (recorder.clone(), recorder.level(&queue.name))),
        }));
        let backend = DeliveryBackend {
            deliveries: Arc::clone(&deliveries),
            dried: dried.clone(),
            stop: shared.stop.clone(),
            registry: Arc::clone(&shared.registry),
            queue: Arc::clone(queue),
            ack,
            ambient: shared.ambient.clone(),
        };
        let context = WorkerContext::new(&name);
        let worker = WorkerBuilder::new(&context)
            .backend(backend)
            .layer(ConcurrencyLimitLayer::new(queue.concurrency))
            .layer(JobLayers)
            .build(Handler { env: shared.env.clone(), ambient: shared.ambient.clone() });
        Self { running: Box::pin(worker.run()), context, dried, deliveries }
    }

    /// Runs jobs until a stop or a closed gate, then steps 1 to 3 of the stop order.
    async fn drive(
        &mut self,
        stop: &Stop,
        queue: &QueueState,
        settler: &dyn Settler,
    ) -> Result<SessionEnd, SessionError> {
        let held_back = tokio::select! {
            // Polled first, so that the worker has started before it is told to stop.
            biased;
            ended = &mut self.running => return Err(unasked(ended)),
            () = self.dried.cancelled() => return Err(EngineError::Closed.into()),
            () = stop.asked() => false,
            () = queue.gate.shut() => true,
        };
        settler.stop();
        if let Err(error) = self.context.stop() {
            tracing::warn!(job.queue = %queue.name, %error, "worker stop failed");
        }
        if held_back {
            let handed_back = self.deliveries.hand_back(settler);
            tracing::info!(job.queue = %queue.name, handed_back, running = queue.running(), "consumer gate closed");
            // Bounded, as each job has a timeout; there is no reason to interrupt them.
            tokio::select! {
                _ = &mut self.running => return Ok(SessionEnd::HeldBack),
                () = stop.asked() => {}
                () = self.deliveries.hand_back_late(settler) => {}
            }
        }
        tokio::select! {
            _ = &mut self.running => return Ok(SessionEnd::Stopped),
            () = stop.abort.cancelled() => return Ok(SessionEnd::Stopped),
            () = sleep(stop.drain) => {}
        }
        tracing::warn!(job.queue = %queue.name, running = queue.running(), "drain timeout reached, interrupting jobs");
        queue.fire(Interrupt::Shutdown);
        tokio::select! {
            _ = &mut self.running => {}
            () = stop.abort.cancelled() => {}
            () = sleep(SHUTDOWN_GRACE) => {}
        }
        Ok(SessionEnd::Stopped)
    }

    /// Drops the remaining runs and with them the backend.
    fn end(self) -> Arc<Deliveries> {
        let Self { running, deliveries, .. } = self;
        drop(running);
        deliveries
    }
}

fn unasked(ended: Result<(), ApalisError>) -> SessionError {
    SessionError::Worker(ended.map_or_else(|error| error.to_string(), |()| "without an error".to_owned()))
}
