//! The supervisor of one queue's worker.
//!
//! Guarantees: a session that ends unexpectedly, by panic or by error, is replaced after a capped, jittered delay,
//! which starts again after a session that lasted; an error that rejects the configuration, or a closed engine, ends
//! the supervision. The session runs in a task of its own, so that deadlines hold even while a job blocks that task.

use std::{sync::Arc, time::Duration};

use base::Ambient;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    CLOSE_MAX, SHUTDOWN_GRACE, WorkerError,
    health::QueueState,
    session::{self, SessionEnd},
};
use crate::{
    engine::{Consume, EngineError},
    job::Backoff,
    recorder::Recorder,
    registry::Registry,
};

/// Delay between failed sessions.
const RESTART: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(200), cap: Duration::from_secs(30) };

/// Length of a session after which its failure counts as a first one.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// Time after all deadlines until a blocked thread is given up.
const OVERDUE: Duration = Duration::from_secs(1);

/// Dependencies and settings shared by all queues of one process.
pub(super) struct WorkerShared<E> {
    pub(super) engine: Arc<dyn Consume>,
    pub(super) registry: Arc<Registry<E>>,
    pub(super) env: E,
    pub(super) ambient: Ambient,
    pub(super) recorder: Option<Recorder>,
    pub(super) lease: Duration,
    pub(super) name: String,
    pub(super) stop: Stop,
}

/// Stop tokens and drain timeout.
#[derive(Clone)]
pub(super) struct Stop {
    pub(super) shutdown: CancellationToken,
    pub(super) abort: CancellationToken,
    pub(super) drain: Duration,
}

impl Stop {
    /// Whether a stop or an abort was requested.
    pub(super) fn is_asked(&self) -> bool {
        self.shutdown.is_cancelled() || self.abort.is_cancelled()
    }

    /// Waits until a stop or an abort is requested.
    pub(super) async fn asked(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.abort.cancelled() => {}
        }
    }

    /// Waits until [`OVERDUE`] after the last deadline of a stop.
    async fn overdue(&self) {
        tokio::select! {
            () = async { self.shutdown.cancelled().await; sleep(self.drain + SHUTDOWN_GRACE).await } => {}
            () = self.abort.cancelled() => {}
        }
        sleep(CLOSE_MAX + OVERDUE).await;
    }
}

/// Failure of a session.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// Error of the engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The apalis worker ended.
    #[error("the worker ended: {0}")]
    Worker(String),
    /// Code outside the panic guard panicked.
    #[error("the worker panicked: {0}")]
    Panicked(tokio::task::JoinError),
}

/// Supervises one queue until a stop or a final error.
pub(super) async fn run<E: Clone + Send + Sync + 'static>(
    shared: Arc<WorkerShared<E>>,
    queue: Arc<QueueState>,
) -> Result<(), WorkerError> {
    let mut failures = 0_u32;
    // Logged once per change; the session logs "worker started" after it.
    let mut waiting = false;
    loop {
        if queue.gate.is_shut() {
            queue.hold_back();
            tracing::info!(job.queue = %queue.name, "consumer gate closed, waiting for it to open");
            tokio::select! {
                () = queue.gate.opened() => {}
                () = shared.stop.asked() => return Ok(()),
            }
        }
        let began = Instant::now();
        let task = tokio::spawn(session::run(Arc::clone(&shared), Arc::clone(&queue)));
        let ended = tokio::select! {
            ended = AbortOnDropHandle::new(task) => ended.unwrap_or_else(|e| Err(SessionError::Panicked(e))),
            () = shared.stop.overdue() => return Err(WorkerError::Blocked { queue: queue.name.clone() }),
        };
        queue.forget_running();
        let error = match ended {
            Ok(SessionEnd::Stopped) => {
                queue.detach("stopped");
                return Ok(());
            }
            Ok(SessionEnd::HeldBack) => {
                (failures, waiting) = (0, false);
                continue;
            }
            Err(error) => error,
        };
        queue.detach(crate::error::describe(&error));
        if let SessionError::Engine(source) = error {
            if is_final(&source) {
                return Err(WorkerError::Engine { queue: queue.name.clone(), source });
            }
            if !waiting || began.elapsed() >= HEALTHY_AFTER {
                tracing::warn!(job.queue = %queue.name, error = %source, "consume failed, retrying");
            }
            waiting = true;
        } else {
            waiting = false;
            tracing::error!(job.queue = %queue.name, %error, "worker ended unexpectedly, restarting");
        }
        failures = if began.elapsed() >= HEALTHY_AFTER { 1 } else { failures.saturating_add(1) };
        tokio::select! {
            () = sleep(RESTART.delay(failures, &shared.ambient)) => queue.count_restart(),
            () = shared.stop.asked() => return Ok(()),
        }
    }
}

/// Whether the worker ends with this error. A deleted queue is declared again by the next session; a defect of the
/// schema or a permission can be corrected while the worker runs.
fn is_final(error: &EngineError) -> bool {
    use EngineError as E;
    matches!(error, E::Denied { .. } | E::Topology { .. } | E::Refused(_) | E::Closed)
}
