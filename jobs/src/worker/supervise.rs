//! The supervisor of one queue: its apalis worker, and one consumer after the other.
//!
//! The only place that starts a consumer again, for every engine. Guarantees: a consumer that is lost, and a worker
//! that ends by a panic, are replaced after a capped, jittered delay, which starts again after a session that lasted;
//! trouble shows as health and is logged once per change. An error that rejects the configuration ends the supervision
//! while no consumer has ever started, a closed engine always does. No job code runs in the supervisor's task, so that
//! deadlines hold even while a job computes.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::{
    error::{SessionError, WorkerError},
    health::QueueState,
    runner::Runner,
    session::{self, SessionEnd},
    shared::WorkerShared,
};
use crate::{engine::EngineError, error::describe, job::Backoff};

/// Delay between failed sessions.
const RESTART: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(200), cap: Duration::from_secs(5) };

/// Length of a session after which its failure counts as a first one.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// Supervises one queue until a stop or a final error.
pub(super) async fn run<E: Clone + Send + Sync + 'static>(
    shared: Arc<WorkerShared<E>>,
    queue: Arc<QueueState>,
) -> Result<(), WorkerError> {
    let ended = tokio::select! {
        ended = supervise(&shared, &queue) => ended,
        () = shared.stop.overdue() => Err(WorkerError::Blocked { queue: queue.name.clone() }),
    };
    queue.forget_running();
    ended
}

async fn supervise<E: Clone + Send + Sync + 'static>(
    shared: &Arc<WorkerShared<E>>,
    queue: &Arc<QueueState>,
) -> Result<(), WorkerError> {
    let mut runner = Runner::start(shared, queue);
    let mut trouble = Trouble::default();
    // Consumers that were left, by a closed gate or a resize; at most as many as jobs run.
    let leaving = TaskTracker::new();
    let settler = loop {
        if queue.gate.is_shut() {
            queue.hold_back();
            tracing::info!(job.queue = %queue.name, "consumer gate closed, waiting for it to open");
            tokio::select! {
                () = queue.gate.opened() => {}
                () = shared.stop.asked() => break None,
            }
        }
        let began = Instant::now();
        let error = match session::run(shared, queue, &mut runner, &leaving).await {
            Ok(SessionEnd::Stopped(settler)) => break settler,
            Ok(SessionEnd::HeldBack | SessionEnd::Resized) => {
                trouble = Trouble::default();
                continue;
            }
            Err(error) => error,
        };
        queue.detach(describe(&error));
        if runner.task.is_finished() {
            runner.end().await;
            queue.forget_running();
            runner = Runner::start(shared, queue);
        }
        trouble.note(queue, error, began)?;
        tokio::select! {
            () = sleep(RESTART.delay(trouble.failures, &shared.ambient)) => queue.count_restart(),
            () = shared.stop.asked() => break None,
        }
    };
    session::finish(&shared.stop, queue, &mut runner, settler, &leaving).await;
    queue.detach("stopped");
    Ok(())
}

/// Failures since the last session that lasted.
#[derive(Default)]
struct Trouble {
    failures: u32,
    /// Whether the failure to consume is logged already; the session logs "worker started" after it.
    logged: bool,
}

impl Trouble {
    /// Counts and logs a failure. Returns an error when it is final.
    fn note(&mut self, queue: &QueueState, error: SessionError, began: Instant) -> Result<(), WorkerError> {
        let lasted = began.elapsed() >= HEALTHY_AFTER;
        self.failures = if lasted { 1 } else { self.failures.saturating_add(1) };
        match error {
            SessionError::Engine(source) if is_final(&source, queue) => {
                return Err(WorkerError::Engine { queue: queue.name.clone(), source });
            }
            SessionError::Engine(error) => {
                if !self.logged {
                    tracing::warn!(job.queue = %queue.name, error = describe(&error), "consume failed, retrying");
                }
                self.logged = true;
            }
            SessionError::Lost(error) => {
                tracing::warn!(
                    job.queue = %queue.name,
                    error = describe(&error),
                    "consumer connection lost, reconnecting"
                );
                self.logged = true;
            }
            SessionError::Worker(_) | SessionError::Panicked(_) => {
                tracing::error!(
                    job.queue = %queue.name,
                    error = describe(&error),
                    "worker ended unexpectedly, restarting"
                );
                self.logged = false;
            }
        }
        Ok(())
    }
}

/// Whether the worker ends with this error. A deleted queue is declared again by the next session; a defect of the
/// schema or a permission can be corrected while the worker runs, and so can all else once a consumer has worked.
fn is_final(error: &EngineError, queue: &QueueState) -> bool {
    use EngineError as E;
    let rejected = matches!(error, E::Denied { .. } | E::Topology { .. } | E::Refused(_));
    (rejected && !queue.has_consumed()) || matches!(error, E::Closed)
}
