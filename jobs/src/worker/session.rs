//! A consumer session of one queue: declare, consume, run jobs until a stop, a closed gate, another number of slots or
//! the loss of the consumer.
//!
//! A session that fails drops its consumer without closing it, so that a job which takes its worker down is charged a
//! crash. Carries out the stop order described at [`super`].

use std::sync::Arc;

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    backend::Feed,
    error::SessionError,
    health::QueueState,
    runner::Runner,
    shared::{CLOSE_MAX, SHUTDOWN_GRACE, Stop, WorkerShared, prefetch_for},
};
use crate::{
    engine::{ConsumeOptions, Consumer, EngineError, Interrupt, QueueSpec, Settler},
    error::describe,
};

/// End of a session that did not fail.
pub(super) enum SessionEnd {
    /// A stop was requested; jobs may still run. With the consumer to close after them, if there is one.
    Stopped(Option<Arc<dyn Settler>>),
    /// The queue's gate was closed. If a consumer had started, it leaves once the last run of its deliveries has ended.
    HeldBack,
    /// The queue has another number of slots, and needs a consumer with another prefetch; this one leaves likewise.
    Resized,
}

/// Runs jobs of the queue until a stop, a closed gate, a resize or a failure. A consumer of which runs may go on while
/// there is another one, or none, is `leaving`.
pub(super) async fn run<E: Clone + Send + Sync + 'static>(
    shared: &WorkerShared<E>,
    queue: &Arc<QueueState>,
    runner: &mut Runner,
    leaving: &TaskTracker,
) -> Result<SessionEnd, SessionError> {
    let slots = queue.slots();
    let Consumer { deliveries, settler, ended } = tokio::select! {
        consumer = consume(shared, queue, slots) => consumer?,
        () = shared.stop.asked() => return Ok(SessionEnd::Stopped(None)),
        () = queue.gate.shut(|| {}) => return Ok(SessionEnd::HeldBack),
    };
    queue.attach(&settler);
    runner.feed.connect(deliveries, Arc::clone(&settler));
    tracing::info!(job.queue = %queue.name, concurrency = slots, "worker started");
    let end = tokio::select! {
        biased;
        ended = &mut runner.task => Err(SessionError::of_worker(ended)),
        end = drive(&shared.stop, queue, slots, &runner.feed, settler, ended) => end,
    };
    let running = queue.running();
    match &end {
        // The deliveries are kept until the settler is closed: without a receiver, an engine might consider the
        // consumer dead while its last settlements are being made durable.
        Ok(SessionEnd::Stopped(_)) => {}
        Ok(SessionEnd::HeldBack) => {
            let handed_back = leave(queue, &runner.feed, leaving);
            tracing::info!(job.queue = %queue.name, handed_back, running, "consumer gate closed");
        }
        Ok(SessionEnd::Resized) => {
            let handed_back = leave(queue, &runner.feed, leaving);
            tracing::info!(job.queue = %queue.name, handed_back, running, slots = queue.slots(), "queue resized");
        }
        Err(_) => runner.feed.disconnect(),
    }
    end
}

/// Releases the deliveries that were not started; the consumer leaves when those that run have ended. They are bounded
/// by their timeouts, and neither interrupted nor waited for: the next consumer starts at once, or when the gate opens.
/// Returns the number of those released.
fn leave(queue: &Arc<QueueState>, feed: &Feed, leaving: &TaskTracker) -> usize {
    let handed_back = feed.hand_back();
    if let Some(source) = feed.detach() {
        let queue = Arc::clone(queue);
        leaving.spawn(async move {
            let settler = source.runs_ended().await;
            close(&queue, settler.as_ref(), 0).await;
        });
    }
    handed_back
}

async fn consume<E>(
    shared: &WorkerShared<E>,
    queue: &QueueState,
    slots: usize,
) -> Result<Consumer, EngineError> {
    let options = ConsumeOptions {
        name: format!("{}/{}", shared.name, queue.name),
        prefetch: prefetch_for(slots),
        lease: shared.lease,
    };
    let fair = shared.fair.get(&queue.name).cloned();
    shared.engine.declare(&[QueueSpec { fair, ..QueueSpec::new(&queue.name) }]).await?;
    shared.engine.consume(&queue.name, options).await
}

async fn drive(
    stop: &Stop,
    queue: &QueueState,
    slots: usize,
    feed: &Feed,
    settler: Arc<dyn Settler>,
    ended: oneshot::Receiver<EngineError>,
) -> Result<SessionEnd, SessionError> {
    let left = tokio::select! {
        reason = ended => return Err(reason.map_or(EngineError::Closed.into(), SessionError::Lost)),
        () = stop.asked() => None,
        () = queue.gate.shut(|| feed.wake()) => Some(SessionEnd::HeldBack),
        () = queue.resized(slots) => Some(SessionEnd::Resized),
    };
    settler.stop();
    Ok(left.unwrap_or(SessionEnd::Stopped(Some(settler))))
}

/// Steps 2 to 5 of the stop order; step 1 was the session's, if there was one.
pub(super) async fn finish(
    stop: &Stop,
    queue: &QueueState,
    runner: &mut Runner,
    settler: Option<Arc<dyn Settler>>,
    leaving: &TaskTracker,
) {
    drain(stop, queue).await;
    runner.end().await;
    leaving.close();
    let last = async {
        if let Some(settler) = settler {
            let released = queue.release_unfinished(settler.as_ref());
            close(queue, settler.as_ref(), released).await;
        }
    };
    tokio::join!(last, leaving.wait());
}

/// Lets running jobs finish, then interrupts them.
async fn drain(stop: &Stop, queue: &QueueState) {
    tokio::select! {
        () = queue.idle() => return,
        () = stop.abort.cancelled() => return,
        () = sleep(stop.drain) => {}
    }
    tracing::warn!(job.queue = %queue.name, running = queue.running(), "drain timeout reached, interrupting jobs");
    queue.fire(Interrupt::Shutdown);
    tokio::select! {
        () = queue.idle() => {}
        () = stop.abort.cancelled() => {}
        () = sleep(SHUTDOWN_GRACE) => {}
    }
}

async fn close(queue: &QueueState, settler: &dyn Settler, released: usize) {
    match timeout(CLOSE_MAX, settler.close()).await {
        Ok(Ok(())) => tracing::info!(job.queue = %queue.name, released, "worker stopped"),
        // No job is lost: unsettled jobs are delivered again when the lease ends.
        Ok(Err(error)) => {
            tracing::warn!(job.queue = %queue.name, error = describe(&error), "consumer close failed");
        }
        Err(_) => {
            tracing::warn!(job.queue = %queue.name, "consumer close timed out");
        }
    }
}
