//! How a run is told that it should end early. It is a request: what the run makes of it is its own affair.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

/// Tells a run that it should end early, and why. Clones share one state.
///
/// One allocation and no lock to clone it, rather than a `CancellationToken`: every run has one, few ever fire.
#[derive(Debug, Clone, Default)]
pub struct JobSignal(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    why: OnceLock<Interrupt>,
    fired: Notify,
}

/// Why a run should end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Somebody cancelled the job; a failure after this is final.
    Cancelled,
    /// The lease is lost: another consumer may run the job already, this outcome will not count.
    LeaseLost,
    /// The worker stops now; the job will be given back.
    Shutdown,
}

impl JobSignal {
    /// Fires; the first reason stays.
    pub fn fire(&self, why: Interrupt) {
        self.0.why.get_or_init(|| why);
        self.0.fired.notify_waiters();
    }

    /// The reason, once fired.
    pub fn interrupt(&self) -> Option<Interrupt> {
        self.0.why.get().copied()
    }

    /// Waits until fired.
    pub async fn fired(&self) -> Interrupt {
        loop {
            // Made before the look, so that firing in between wakes it.
            let fired = self.0.fired.notified();
            if let Some(why) = self.interrupt() {
                return why;
            }
            fired.await;
        }
    }
}
