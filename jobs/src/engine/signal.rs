//! The signal that asks a run to end early. It is a request: the run may ignore it.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

/// Asks a run to end early, with a reason. Clones share one state.
///
/// One allocation per run, cloned without a lock, unlike a `CancellationToken`: every run has one, few ever fire.
#[derive(Debug, Clone, Default)]
pub struct JobSignal(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    why: OnceLock<Interrupt>,
    fired: Notify,
}

/// Reason for which a run should end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The job was cancelled; a failure after this is final.
    Cancelled,
    /// The lease was lost: another consumer may run the job already, and this outcome will be dropped.
    LeaseLost,
    /// The worker is shutting down; the job will be released to its queue.
    Shutdown,
}

impl JobSignal {
    /// Fires the signal; when fired several times the first reason counts.
    pub fn fire(&self, why: Interrupt) {
        self.0.why.get_or_init(|| why);
        self.0.fired.notify_waiters();
    }

    /// The reason; `None` until the signal fires.
    pub fn interrupt(&self) -> Option<Interrupt> {
        self.0.why.get().copied()
    }

    /// Whether another clone exists.
    #[cfg(feature = "rabbitmq")]
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Waits until the signal fires.
    pub async fn fired(&self) -> Interrupt {
        loop {
            // Registered before the check, so that a signal fired in between is not missed.
            let fired = self.0.fired.notified();
            if let Some(why) = self.interrupt() {
                return why;
            }
            fired.await;
        }
    }
}
