//! The pause of a failed shard, during which no messages are claimed from it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(5);

/// End of the pause; `None` while the shard works.
#[derive(Default)]
pub(super) struct ShardPause(Mutex<Option<Instant>>);

impl ShardPause {
    fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last claim failed.
    pub(super) fn has_failed(&self) -> bool {
        self.until().is_some()
    }

    pub(super) fn is_pausing(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    /// Records the result of a claim; true when it differs from the previous one.
    pub(super) fn note(&self, failed: bool) -> bool {
        let until = failed.then(|| Instant::now() + PAUSE);
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), until);
        before.is_some() != failed
    }
}
