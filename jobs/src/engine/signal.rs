//! The signal that asks a run to end early. It is a request: the run may ignore it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// Asks a run to end early, with a reason. Clones share one state.
///
/// One allocation per run, cloned without a lock, unlike a `CancellationToken`: every run has one, few ever fire.
#[derive(Debug, Clone, Default)]
pub struct JobSignal(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    why: OnceLock<Interrupt>,
    /// Whether the soft time-out has passed: the weakest reason, which counts until there is another one.
    soft: AtomicBool,
    fired: Notify,
}

/// Reason for which a run should end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The job was cancelled; a failure after this is final.
    Cancelled,
    /// The lease was lost: another consumer may run the job already, and this outcome will be dropped. Or the lease of
    /// its [limit](crate::limits) was lost: then the run is dropped, and comes again.
    LeaseLost,
    /// The worker is shutting down; the job will be released to its queue.
    Shutdown,
    /// [`Job::SOFT_TIMEOUT`](crate::Job::SOFT_TIMEOUT) has passed: the run is dropped at its `TIMEOUT`, and an outcome
    /// before that counts as at any other time.
    SoftTimeout,
}

impl JobSignal {
    /// Fires the signal; when fired several times the first reason counts, but for [`Interrupt::SoftTimeout`], which
    /// any other replaces.
    pub fn fire(&self, why: Interrupt) {
        if why == Interrupt::SoftTimeout {
            self.0.soft.store(true, Ordering::Release);
        } else {
            self.0.why.get_or_init(|| why);
        }
        self.0.fired.notify_waiters();
    }

    /// The reason; `None` until the signal fires.
    pub fn interrupt(&self) -> Option<Interrupt> {
        let soft = || self.0.soft.load(Ordering::Acquire).then_some(Interrupt::SoftTimeout);
        self.0.why.get().copied().or_else(soft)
    }

    /// Whether another clone exists.
    #[cfg(feature = "rabbitmq")]
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Waits until the signal fires.
    pub async fn fired(&self) -> Interrupt {
        self.wait(true).await
    }

    /// Waits until the signal fires for another reason than [`Interrupt::SoftTimeout`]: for a run that ends in order
    /// after that one.
    pub async fn stopped(&self) -> Interrupt {
        self.wait(false).await
    }

    async fn wait(&self, soft_counts: bool) -> Interrupt {
        loop {
            // Registered before the check, so that a signal fired in between is not missed.
            let fired = self.0.fired.notified();
            let why = if soft_counts { self.interrupt() } else { self.0.why.get().copied() };
            if let Some(why) = why {
                return why;
            }
            fired.await;
        }
    }
}
