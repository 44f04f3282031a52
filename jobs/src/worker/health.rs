//! Health of the workers of a process, for readiness checks.
//!
//! Guarantees: reading never waits for a job or an engine. Distinguishes idle from disconnected: see
//! [`ConsumerHealth`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::{
    counts::{KindRuns, RunCounts},
    gate::Gate,
};
use crate::{
    engine::{ConsumerHealth, Interrupt, JobSignal, Receipt, Settlement, Settler},
    envelope::JobId,
};

/// Live view of all queues of one [`crate::Workers`]; taken before running, cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct WorkersHealth {
    queues: Arc<Mutex<Vec<Arc<QueueState>>>>,
}

/// Health of one queue's worker.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Serialize)]
pub struct QueueHealth {
    pub queue: String,
    /// Jobs that run at a time.
    pub concurrency: usize,
    /// The same as it was configured, before an operator has resized the queue.
    pub configured: usize,
    /// Jobs that run now; for a while more than these, where they have become fewer.
    pub running: usize,
    /// Restarts of the queue's consumer or worker.
    pub restarts: u64,
    /// Health of the consumer as reported by its engine; `None` while there is none.
    pub consumer: Option<ConsumerHealth>,
    /// Reason why there is no consumer; `None` when there is one.
    pub trouble: Option<String>,
    /// Whether the reason is a closed gate: intended, and over when the gate is opened.
    pub held_back: bool,
}

impl QueueHealth {
    /// Whether jobs of this queue can run now.
    pub fn is_ready(&self) -> bool {
        self.consumer.as_ref().is_some_and(|consumer| consumer.trouble.is_none())
    }
}

impl WorkersHealth {
    /// One entry per queue, in the order of their configuration.
    pub fn queues(&self) -> Vec<QueueHealth> {
        self.queues.lock().iter().map(|queue| queue.health()).collect()
    }

    /// The ended runs of each queue, by kind: for metrics.
    pub fn runs(&self) -> Vec<KindRuns> {
        self.queues.lock().iter().flat_map(|queue| queue.runs.kinds(&queue.name)).collect()
    }

    /// Whether all queues are ready; false when there is none.
    pub fn is_ready(&self) -> bool {
        let queues = self.queues();
        !queues.is_empty() && queues.iter().all(QueueHealth::is_ready)
    }

    pub(super) fn add(&self, queue: QueueState) {
        self.queues.lock().push(Arc::new(queue));
    }

    pub(super) fn states(&self) -> Vec<Arc<QueueState>> {
        self.queues.lock().clone()
    }
}

#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) name: String,
    /// Slots by the configuration.
    pub(super) configured: usize,
    slots: watch::Sender<usize>,
    running: Mutex<HashMap<Receipt, JobSignal>>,
    /// Notified when the last running job has ended.
    idle: Notify,
    restarts: AtomicU64,
    consumed: AtomicBool,
    pub(super) gate: Gate,
    /// Runs that have ended.
    pub(super) runs: RunCounts,
    link: Mutex<Link>,
}

/// A weak handle, so that a health view does not keep the consumer of an ended worker alive.
#[derive(Debug, Default)]
struct Link {
    settler: Option<Weak<dyn Settler>>,
    trouble: Option<String>,
    held_back: bool,
}

impl QueueState {
    pub(super) fn new(name: String, concurrency: usize, gate: Gate, runs: RunCounts) -> Self {
        let trouble = Some("not started yet".to_owned());
        let link = Mutex::new(Link { trouble, ..Link::default() });
        Self {
            name,
            configured: concurrency,
            slots: watch::Sender::new(concurrency),
            running: Mutex::default(),
            idle: Notify::new(),
            restarts: AtomicU64::new(0),
            consumed: AtomicBool::new(false),
            gate,
            runs,
            link,
        }
    }

    /// Jobs that may run at a time.
    pub(super) fn slots(&self) -> usize {
        *self.slots.borrow()
    }

    /// Whether another job may start.
    pub(super) fn has_room(&self) -> bool {
        self.running() < self.slots()
    }

    pub(super) fn resize(&self, slots: usize) {
        self.slots.send_if_modified(|known| std::mem::replace(known, slots) != slots);
    }

    /// Waits until the queue has another number of slots.
    pub(super) async fn resized(&self, known: usize) {
        let mut slots = self.slots.subscribe();
        let _ = slots.wait_for(|slots| *slots != known).await;
    }

    pub(super) fn attach(&self, settler: &Arc<dyn Settler>) {
        self.consumed.store(true, Ordering::Relaxed);
        *self.link.lock() = Link { settler: Some(Arc::downgrade(settler)), ..Link::default() };
    }

    pub(super) fn detach(&self, trouble: impl Into<String>) {
        *self.link.lock() = Link { trouble: Some(trouble.into()), ..Link::default() };
    }

    /// Records that there is no consumer because the gate is closed.
    pub(super) fn hold_back(&self) {
        *self.link.lock() = Link { settler: None, trouble: Some("gate closed".to_owned()), held_back: true };
    }

    pub(super) fn has_consumed(&self) -> bool {
        self.consumed.load(Ordering::Relaxed)
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn started(&self, receipt: Receipt, signal: JobSignal) {
        self.running.lock().insert(receipt, signal);
    }

    pub(super) fn ended(&self, receipt: Receipt) {
        let mut running = self.running.lock();
        running.remove(&receipt);
        if running.is_empty() {
            self.idle.notify_waiters();
        }
    }

    pub(super) async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            // Registered before the check, so that an end in between is not missed.
            idle.as_mut().enable();
            if self.running() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running.lock().len()
    }

    /// The jobs that run.
    pub(super) fn running_jobs(&self) -> Vec<JobId> {
        self.running.lock().keys().map(|receipt| receipt.job).collect()
    }

    pub(super) fn fire(&self, why: Interrupt) {
        self.running.lock().values().for_each(|signal| signal.fire(why));
    }

    /// Releases the jobs whose run was dropped before its outcome; returns how many.
    pub(super) fn release_unfinished(&self, settler: &dyn Settler) -> usize {
        let unfinished = std::mem::take(&mut *self.running.lock());
        for receipt in unfinished.keys() {
            settler.settle(*receipt, Settlement::Release);
        }
        unfinished.len()
    }

    /// Forgets the jobs of an ended worker; the engine delivers them again.
    pub(super) fn forget_running(&self) {
        self.running.lock().clear();
    }

    pub(super) fn health(&self) -> QueueHealth {
        let (settler, trouble, held_back) = {
            let link = self.link.lock();
            (link.settler.as_ref().and_then(Weak::upgrade), link.trouble.clone(), link.held_back)
        };
        QueueHealth {
            queue: self.name.clone(),
            concurrency: self.slots(),
            configured: self.configured,
            running: self.running(),
            restarts: self.restarts.load(Ordering::Relaxed),
            consumer: settler.map(|settler| settler.health()),
            trouble,
            held_back,
        }
    }
}
