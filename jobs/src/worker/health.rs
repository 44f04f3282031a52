//! What the workers of this process are doing, for readiness checks and `inspect`.
//!
//! Guarantees: reading never waits for a job or an engine. Tells idle from deaf: see [`ConsumerHealth`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

use super::gate::Gate;
use crate::engine::{ConsumerHealth, Interrupt, JobSignal, Receipt, Settlement, Settler};

/// A view on all queues of one [`crate::Workers`]; take it before running, clone it freely.
#[derive(Debug, Clone, Default)]
pub struct WorkersHealth {
    queues: Arc<Mutex<Vec<Arc<QueueState>>>>,
}

/// How one queue's worker is doing.
#[derive(Debug, Clone, Serialize)]
pub struct QueueHealth {
    /// The queue.
    pub queue: String,
    /// Jobs that may run at a time.
    pub concurrency: usize,
    /// Jobs running now.
    pub running: usize,
    /// How often its worker had to be started again.
    pub restarts: u64,
    /// The consumer, as its engine sees it; `None` while there is none.
    pub consumer: Option<ConsumerHealth>,
    /// Why there is no consumer; `None` when nothing is wrong.
    pub trouble: Option<String>,
    /// Whether that is because its gate is shut: wanted, and over when whoever holds the gate opens it.
    pub held_back: bool,
}

impl QueueHealth {
    /// Whether jobs of this queue can be run now.
    pub fn is_ready(&self) -> bool {
        self.consumer.as_ref().is_some_and(|consumer| consumer.trouble.is_none())
    }
}

impl WorkersHealth {
    /// One entry per queue, in the order they were asked for.
    pub fn queues(&self) -> Vec<QueueHealth> {
        lock(&self.queues).iter().map(|queue| queue.health()).collect()
    }

    /// Whether every queue can be worked on; false without any.
    pub fn is_ready(&self) -> bool {
        let queues = self.queues();
        !queues.is_empty() && queues.iter().all(QueueHealth::is_ready)
    }

    pub(super) fn add(&self, queue: &Arc<QueueState>) {
        lock(&self.queues).push(Arc::clone(queue));
    }
}

/// The live state of one queue's worker.
#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) name: String,
    pub(super) concurrency: usize,
    running: Mutex<HashMap<Receipt, JobSignal>>,
    restarts: AtomicU64,
    pub(super) gate: Gate,
    link: Mutex<Link>,
}

/// A weak handle: a view must not keep a consumer alive whose worker is gone.
#[derive(Default)]
struct Link {
    settler: Option<Weak<dyn Settler>>,
    trouble: Option<String>,
    held_back: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

impl QueueState {
    pub(super) fn new(name: String, concurrency: usize, gate: Gate) -> Self {
        let trouble = Some("not started yet".to_owned());
        let link = Mutex::new(Link { trouble, ..Link::default() });
        Self { name, concurrency, running: Mutex::default(), restarts: AtomicU64::new(0), gate, link }
    }

    pub(super) fn attach(&self, settler: &Arc<dyn Settler>) {
        *lock(&self.link) = Link { settler: Some(Arc::downgrade(settler)), ..Link::default() };
    }

    pub(super) fn detach(&self, trouble: impl Into<String>) {
        *lock(&self.link) = Link { trouble: Some(trouble.into()), ..Link::default() };
    }

    /// There is no consumer because the gate is shut.
    pub(super) fn hold_back(&self) {
        *lock(&self.link) = Link { settler: None, trouble: Some("held back".to_owned()), held_back: true };
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn started(&self, receipt: Receipt, signal: JobSignal) {
        lock(&self.running).insert(receipt, signal);
    }

    pub(super) fn ended(&self, receipt: Receipt) {
        lock(&self.running).remove(&receipt);
    }

    pub(super) fn running(&self) -> usize {
        lock(&self.running).len()
    }

    /// Tells every running job to stop.
    pub(super) fn fire(&self, why: Interrupt) {
        lock(&self.running).values().for_each(|signal| signal.fire(why));
    }

    /// Gives back every job whose run was dropped before it had an outcome; answers how many.
    pub(super) fn release_unfinished(&self, settler: &dyn Settler) -> usize {
        let unfinished = std::mem::take(&mut *lock(&self.running));
        for receipt in unfinished.keys() {
            settler.settle(*receipt, Settlement::Release);
        }
        unfinished.len()
    }

    /// Forgets jobs whose consumer is gone; the engine gives them to another.
    pub(super) fn forget_running(&self) {
        lock(&self.running).clear();
    }

    fn health(&self) -> QueueHealth {
        let (settler, trouble, held_back) = {
            let link = lock(&self.link);
            (link.settler.as_ref().and_then(Weak::upgrade), link.trouble.clone(), link.held_back)
        };
        QueueHealth {
            queue: self.name.clone(),
            concurrency: self.concurrency,
            running: self.running(),
            restarts: self.restarts.load(Ordering::Relaxed),
            consumer: settler.map(|settler| settler.health()),
            trouble,
            held_back,
        }
    }
}

/// Every critical section here leaves a map or an option whole, so a poisoned lock is still sound.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
