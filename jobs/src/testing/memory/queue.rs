//! The jobs of an in-memory engine, behind one lock.

use base::{Ambient, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::state::MemoryState;

pub(super) struct MemoryQueue {
    pub(super) ambient: Ambient,
    pub(super) state: Mutex<MemoryState>,
    pub(super) changed: Notify,
}

impl MemoryQueue {
    pub(super) fn new(ambient: Ambient) -> Self {
        Self { ambient, state: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn look<T>(&self, see: impl FnOnce(&MemoryState) -> T) -> T {
        see(&self.state.lock())
    }

    /// Changes the state and wakes all waiters: there are few in a test.
    pub(super) fn change<T>(&self, act: impl FnOnce(&mut MemoryState, Timestamp) -> T) -> T {
        let now = self.ambient.now();
        let done = act(&mut self.state.lock(), now);
        self.changed.notify_waiters();
        done
    }
}
