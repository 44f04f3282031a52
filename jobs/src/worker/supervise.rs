//! Keeps one queue's worker alive until a stop is asked for.
//!
//! Guarantees: a session that ends unasked, by panic or by error, is replaced after a capped, jittered delay, which
//! starts small again once a session has lasted; an error that waiting cannot mend ends the supervision with it.
//! The session runs in a task of its own, so that deadlines hold even while a job blocks that task.

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
    engine::{Engine, EngineError},
    job::Backoff,
    recorder::Recorder,
    registry::Registry,
};

/// Between sessions that failed.
const RESTART: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(200), cap: Duration::from_secs(30) };

/// A session that lasted this long was healthy: the next failure is a first one again.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// What a blocked thread is allowed beyond all deadlines before it is given up.
const OVERDUE: Duration = Duration::from_secs(1);

/// What all queues of one process have in common.
pub(super) struct WorkerShared<E> {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) registry: Arc<Registry<E>>,
    pub(super) env: E,
    pub(super) ambient: Ambient,
    pub(super) recorder: Option<Recorder>,
    pub(super) lease: Duration,
    pub(super) name: String,
    pub(super) stop: Stop,
}

/// How and when to stop.
#[derive(Clone)]
pub(super) struct Stop {
    pub(super) shutdown: CancellationToken,
    pub(super) abort: CancellationToken,
    pub(super) drain: Duration,
}

impl Stop {
    /// Whether to stop, in either way.
    pub(super) fn is_asked(&self) -> bool {
        self.shutdown.is_cancelled() || self.abort.is_cancelled()
    }

    /// Waits for either way of stopping.
    pub(super) async fn asked(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.abort.cancelled() => {}
        }
    }

    /// Long after everything should have ended.
    async fn overdue(&self) {
        tokio::select! {
            () = async { self.shutdown.cancelled().await; sleep(self.drain + SHUTDOWN_GRACE).await } => {}
            () = self.abort.cancelled() => {}
        }
        sleep(CLOSE_MAX + OVERDUE).await;
    }
}

/// How a session ended, unless it was told to.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The engine said no.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Apalis gave up.
    #[error("the worker ended: {0}")]
    Worker(String),
    /// Something outside of the panic guard panicked.
    #[error("the worker panicked: {0}")]
    Panicked(tokio::task::JoinError),
}

/// Supervises one queue until a stop, or until an error that stays.
pub(super) async fn run<E: Clone + Send + Sync + 'static>(
    shared: Arc<WorkerShared<E>>,
    queue: Arc<QueueState>,
) -> Result<(), WorkerError> {
    let mut failures = 0_u32;
    // Said once per change: the next word after it is the session's "worker started".
    let mut waiting = false;
    loop {
        if queue.gate.is_shut() {
            queue.hold_back();
            tracing::info!(job.queue = %queue.name, "held back until its gate opens");
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
                tracing::warn!(job.queue = %queue.name, error = %source, "cannot consume, will keep trying");
            }
            waiting = true;
        } else {
            waiting = false;
            tracing::error!(job.queue = %queue.name, %error, "a worker ended unasked, will start it again");
        }
        failures = if began.elapsed() >= HEALTHY_AFTER { 1 } else { failures.saturating_add(1) };
        tokio::select! {
            () = sleep(RESTART.delay(failures, &shared.ambient)) => queue.count_restart(),
            () = shared.stop.asked() => return Ok(()),
        }
    }
}

/// Whether the worker ends with this error. A queue that is gone is declared again by the next session; a defect of the
/// schema or a permission is corrected under a running worker.
fn is_final(error: &EngineError) -> bool {
    use EngineError as E;
    matches!(error, E::Denied { .. } | E::Topology { .. } | E::Refused(_) | E::Closed)
}
