//! The gate of a queue, closed by a component that knows that the queue's jobs cannot succeed now.
//!
//! Guarantees: while the gate is closed this process starts no job of the queue and holds none that it has not started;
//! running jobs may end in their own time. Other processes continue: a gate is not [`crate::Admin::pause`].

use tokio::sync::watch;

/// `true` is open. Once its sender was dropped the gate is open for good: no one could open it.
#[derive(Debug)]
pub(super) struct Gate(pub(super) watch::Receiver<bool>);

impl Gate {
    pub(super) fn is_shut(&self) -> bool {
        !*self.0.borrow() && self.0.has_changed().is_ok()
    }

    /// Waits until the gate is closed; calls `opened` when it was closed meanwhile and is open again.
    pub(super) async fn shut(&self, opened: impl Fn()) {
        let mut open = self.0.clone();
        while !self.is_shut() {
            opened();
            if open.changed().await.is_err() {
                // Without a sender it cannot be closed any more.
                opened();
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) async fn opened(&self) {
        let mut open = self.0.clone();
        let _ = open.wait_for(|open| *open).await;
    }
}
