//! Concurrency keys within one engine handle.
//!
//! Guarantees: of all deliveries of this handle with one key, over all its queues, one is dispatched at a time. Does
//! not reach other processes: a broker has no lock that is released when its holder dies.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The keys in use, each with session and delivery tag of its holder.
#[derive(Default)]
pub(crate) struct Keys {
    taken: Mutex<HashMap<String, (u64, u64)>>,
    freed: watch::Sender<()>,
}

impl Keys {
    /// Takes the key for this delivery. Returns false when it is in use.
    pub(super) fn take(&self, key: &str, session: u64, tag: u64) -> bool {
        let mut taken = self.taken.lock();
        if taken.contains_key(key) {
            return false;
        }
        taken.insert(key.to_owned(), (session, tag));
        true
    }

    /// Frees the key if this delivery holds it.
    pub(super) fn free(&self, key: &str, session: u64, tag: u64) {
        let mut taken = self.taken.lock();
        if taken.get(key) == Some(&(session, tag)) {
            taken.remove(key);
            drop(taken);
            self.freed.send_replace(());
        }
    }

    /// Frees all keys of an ended session.
    pub(super) fn free_all(&self, session: u64) {
        self.taken.lock().retain(|_, (holder, _)| *holder != session);
        self.freed.send_replace(());
    }

    /// Makes all sessions look again for jobs that may start.
    pub(super) fn wake(&self) {
        self.freed.send_replace(());
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }
}
