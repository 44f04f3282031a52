//! A gate before a queue, held by somebody who knows that its jobs cannot succeed now.
//!
//! Guarantees: while it is shut this process starts no job of the queue and keeps none that it has not started; what
//! runs may end in its own time. Other processes go on: a gate is not [`crate::Engine::pause`].

use tokio::sync::watch;

/// `true` is open. Without a receiver it is open for good, and so is one whose holder is gone: nobody would open it.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Option<watch::Receiver<bool>>);

impl Gate {
    pub(super) fn watching(open: watch::Receiver<bool>) -> Self {
        Self(Some(open))
    }

    pub(super) fn is_shut(&self) -> bool {
        self.0.as_ref().is_some_and(|open| !*open.borrow() && open.has_changed().is_ok())
    }

    /// Waits until it is shut.
    pub(super) async fn shut(&self) {
        if let Some(mut open) = self.0.clone()
            && open.wait_for(|open| !open).await.is_ok()
            && self.is_shut()
        {
            return;
        }
        // Nobody can shut it any more.
        std::future::pending::<()>().await;
    }

    /// Waits until it is open.
    pub(super) async fn opened(&self) {
        if let Some(mut open) = self.0.clone() {
            let _ = open.wait_for(|open| *open).await;
        }
    }
}
