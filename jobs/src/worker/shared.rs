//! Dependencies, stop tokens and time limits of the workers of one process.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::Ambient;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::running::RunningIds;
#[cfg(doc)]
use crate::engine::Interrupt;
use crate::{
    engine::{Consume, Weights},
    limits::Limiter,
    recorder::Recorder,
    registry::Registry,
    reporter::Reporter,
};

/// Time a job has after [`Interrupt::Shutdown`] was fired at it.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Longest wait for the last settlements to become durable; jobs without one are delivered again.
pub const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Time after all deadlines until a blocked thread is given up.
const OVERDUE: Duration = Duration::from_secs(1);

/// Dependencies and settings shared by all queues of one process.
pub(super) struct WorkerShared<E> {
    pub(super) engine: Arc<dyn Consume>,
    pub(super) registry: Arc<Registry<E>>,
    pub(super) env: E,
    pub(super) ambient: Ambient,
    pub(super) recorder: Option<Recorder>,
    pub(super) reporter: Option<Reporter>,
    pub(super) lease: Duration,
    pub(super) name: String,
    pub(super) stop: Stop,
    pub(super) running: Arc<RunningIds>,
    /// `None` if no kind has a limit.
    pub(super) limiter: Option<Arc<Limiter>>,
    /// Weights of fair queues, by name.
    pub(super) fair: HashMap<String, Weights>,
}

#[derive(Clone)]
pub(super) struct Stop {
    pub(super) shutdown: CancellationToken,
    pub(super) abort: CancellationToken,
    pub(super) drain: Duration,
}

impl Stop {
    pub(super) fn is_asked(&self) -> bool {
        self.shutdown.is_cancelled() || self.abort.is_cancelled()
    }

    pub(super) async fn asked(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.abort.cancelled() => {}
        }
    }

    /// Waits until [`OVERDUE`] after the last deadline of a stop.
    pub(super) async fn overdue(&self) {
        tokio::select! {
            () = async { self.shutdown.cancelled().await; sleep(self.drain + SHUTDOWN_GRACE).await } => {}
            () = self.abort.cancelled() => {}
        }
        sleep(CLOSE_MAX + OVERDUE).await;
    }
}

/// Unsettled deliveries per consumer: the concurrency and a quarter of it, at least one more.
///
/// The reserve covers the time until a settlement is durable, so that a free slot finds a job ready. It is small
/// because a job fetched ahead waits for the jobs running here, even when another process is idle.
pub const fn prefetch_for(concurrency: usize) -> usize {
    let reserve = concurrency / 4;
    concurrency.saturating_add(if reserve == 0 { 1 } else { reserve })
}
