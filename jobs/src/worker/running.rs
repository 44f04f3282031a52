//! The ids of the jobs that run in this process: an id runs once at a time, over all its queues.
//!
//! Guarantees: an id is taken until its run has ended and its future is dropped, also after a lost lease, a panic or an
//! abort; the feeds of the process are woken when an id is free for which a delivery waits. Does not reach other
//! processes: there a job may run beside a run that has lost its lease.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Weak},
};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::envelope::JobId;

/// Shared by all queues of [`crate::Workers`]. Bounded by the sum of their concurrency.
#[derive(Default)]
pub(super) struct RunningIds {
    /// Each with whether a delivery waits for its end.
    ids: Mutex<HashMap<JobId, bool>>,
    feeds: Mutex<Vec<Weak<AtomicWaker>>>,
}

impl RunningIds {
    /// Wakes this feed from now on when an awaited id is free.
    pub(super) fn subscribe(&self, feed: &Arc<AtomicWaker>) {
        let mut feeds = self.feeds.lock();
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(feed));
    }

    /// Takes an id for a run; `None` while an earlier run of it has not ended.
    pub(super) fn take(self: &Arc<Self>, id: JobId) -> Option<RunningId> {
        match self.ids.lock().entry(id) {
            Entry::Occupied(mut awaited) => {
                awaited.insert(true);
                None
            }
            Entry::Vacant(free) => {
                free.insert(false);
                Some(RunningId { id, ids: Arc::clone(self) })
            }
        }
    }

    fn free(&self, id: JobId) {
        let awaited = self.ids.lock().remove(&id).unwrap_or(false);
        if awaited {
            let feeds: Vec<_> = self.feeds.lock().iter().filter_map(Weak::upgrade).collect();
            for feed in &feeds {
                feed.wake();
            }
        }
    }
}

/// An id taken for a run, free again when dropped.
pub(crate) struct RunningId {
    id: JobId,
    ids: Arc<RunningIds>,
}

impl Drop for RunningId {
    fn drop(&mut self) {
        self.ids.free(self.id);
    }
}
