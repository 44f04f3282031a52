//! The knowledge of a process about fair queues: how long their broker queues are, and whether jobs wait in the store.
//!
//! Guarantees: once this process has held a job in the store, its next jobs of that queue and priority are held, too,
//! until a read of the store that began afterwards has found none. Counts may lag; then the broker's queue is longer
//! than meant.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{job::Priority, job_store::FairQueue};

/// Jobs in the broker's queue beyond which further ones are held in the store. It covers the time until the queue is
/// filled again; each of them is started before a job of another key that comes now.
pub(super) const SHORT: u64 = 64;
/// Age at which a count is read again.
const COUNT_VALID: Duration = Duration::from_millis(250);
/// The same when the count leaves no room: consumers may have emptied the queue within a moment. A read of the store
/// need not be younger than [`COUNT_VALID`] then.
const FULL_VALID: Duration = Duration::from_millis(2);
/// The same while jobs wait in the store, so that not every job of a flood asks.
const WAITS_VALID: Duration = Duration::from_millis(50);
/// How long jobs go straight to the broker after the store, or a count, has failed.
const SUSPENDED_FOR: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct FairViews {
    queues: Mutex<HashMap<String, [PriorityView; 3]>>,
    /// When the last read of the store began.
    learned_at: Mutex<Option<Instant>>,
    suspended_until: Mutex<Option<Instant>>,
    /// Wakes the task that fills broker queues.
    pub(super) woken: Arc<Notify>,
    /// Tells that task that a count is asked for.
    pub(super) count_asked: Arc<Notify>,
}

/// One broker queue.
#[derive(Debug, Clone, Copy, Default)]
struct PriorityView {
    counted_at: Option<Instant>,
    /// Messages in the broker's queue at the last count, and those that this process has published since.
    ready: u64,
    /// Whether a new count is on its way.
    is_counting: bool,
    /// Whether jobs wait in the store.
    waits: bool,
    /// Calls of this process that are holding jobs now, and the time of the last one that ended.
    holding: u32,
    held_at: Option<Instant>,
}

/// A call that holds jobs in the store; its drop ends it.
pub(super) struct HoldingCall {
    views: Arc<FairViews>,
    queue: String,
    priority: Priority,
}

impl Drop for HoldingCall {
    fn drop(&mut self) {
        self.views.change(&self.queue, self.priority, |view| {
            view.holding = view.holding.saturating_sub(1);
            view.held_at = Some(Instant::now());
        });
    }
}

impl FairViews {
    /// Whether a queue was fair when this process last asked.
    pub(crate) fn is_fair(&self, queue: &str) -> bool {
        self.queues.lock().contains_key(queue)
    }

    /// Whether any queue is.
    pub(super) fn has_queues(&self) -> bool {
        !self.queues.lock().is_empty()
    }

    /// Whether jobs of a priority wait in the store, as far as this process knows.
    pub(super) fn is_contended(&self, queue: &str, priority: Priority) -> bool {
        self.queues.lock().get(queue).is_some_and(|views| views[priority as usize].waits)
    }

    /// Takes in a read of the store that began at this time.
    pub(super) fn learn(&self, found: &[FairQueue], began: Instant) {
        *self.learned_at.lock() = Some(began);
        let mut queues = self.queues.lock();
        for FairQueue { name, waits } in found {
            let views = queues.entry(name.clone()).or_default();
            for (view, waits) in views.iter_mut().zip(waits) {
                let is_older = view.holding > 0 || view.held_at.is_some_and(|at| at >= began);
                view.waits = *waits || (view.waits && is_older);
            }
        }
    }

    /// Takes in a count of the broker's queue.
    pub(super) fn counted(&self, queue: &str, priority: Priority, ready: u64) {
        let counted_at = Some(Instant::now());
        self.change(queue, priority, |view| {
            (view.ready, view.counted_at, view.is_counting) = (ready, counted_at, false);
        });
    }

    /// Whether the store has to be asked, too, where the broker is.
    pub(super) fn is_store_stale(&self, queue: &str, priority: Priority) -> bool {
        let valid = if self.is_contended(queue, priority) { WAITS_VALID } else { COUNT_VALID };
        self.learned_at.lock().is_none_or(|at| at.elapsed() >= valid)
    }

    /// Asks for a count before the room that is left has been taken, so that publishing need not wait for it.
    pub(super) fn count_ahead(&self, queue: &str, priority: Priority) {
        let is_asked = self.change(queue, priority, |view| {
            let is_old = view.counted_at.is_some_and(|at| at.elapsed() >= FULL_VALID);
            let is_asked = !view.waits && !view.is_counting && is_old && view.ready > SHORT / 2;
            view.is_counting |= is_asked;
            is_asked
        });
        if is_asked {
            self.count_asked.notify_one();
        }
    }

    /// The broker queues that a count is asked for.
    pub(super) fn to_count(&self) -> Vec<(String, Priority)> {
        let queues = self.queues.lock();
        let asked = queues.iter().flat_map(|(name, views)| {
            let asked = Priority::ALL.into_iter().filter(|priority| views[*priority as usize].is_counting);
            asked.map(|priority| (name.clone(), priority))
        });
        asked.collect()
    }

    /// Whether queue and store have to be asked before this many jobs are published.
    pub(super) fn is_stale(&self, queue: &str, priority: Priority, wanted: u64) -> bool {
        let queues = self.queues.lock();
        let Some(view) = queues.get(queue).map(|views| views[priority as usize]) else { return true };
        let valid = if view.waits {
            WAITS_VALID
        } else if view.ready.saturating_add(wanted) > SHORT {
            FULL_VALID
        } else {
            COUNT_VALID
        };
        view.counted_at.is_none_or(|at| at.elapsed() >= valid)
    }

    /// Takes room for jobs that go straight to the broker; returns for how many there is, and a call to hold the rest.
    pub(super) fn take_room(
        self: &Arc<Self>,
        queue: &str,
        priority: Priority,
        wanted: u64,
    ) -> (u64, Option<HoldingCall>) {
        let room = self.change(queue, priority, |view| {
            let room = if view.waits { 0 } else { SHORT.saturating_sub(view.ready).min(wanted) };
            view.ready = view.ready.saturating_add(room);
            if room < wanted {
                view.waits = true;
                view.holding += 1;
            }
            room
        });
        let call = || HoldingCall { views: Arc::clone(self), queue: queue.to_owned(), priority };
        (room, (room < wanted).then(call))
    }

    fn change<T>(&self, queue: &str, priority: Priority, act: impl FnOnce(&mut PriorityView) -> T) -> T {
        let mut queues = self.queues.lock();
        act(&mut queues.entry(queue.to_owned()).or_default()[priority as usize])
    }

    /// Wakes the task that fills broker queues, which learns of fair queues and of jobs in the store.
    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Whether jobs go straight to the broker now.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Suspends fairness for a while; told once until [`Self::resume`].
    pub(super) fn suspend(&self, error: &str) {
        let until = Instant::now() + SUSPENDED_FOR;
        if self.suspended_until.lock().replace(until).is_none() {
            tracing::warn!(error, "fair share suspended, jobs go straight to the broker");
        }
    }

    /// After queue and store have answered.
    pub(super) fn resume(&self) {
        if self.suspended_until.lock().take().is_some() {
            tracing::info!("fair share resumed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Priority = Priority::Default;

    fn found(waits: bool) -> [FairQueue; 1] {
        [FairQueue { name: "mail".to_owned(), waits: [false, waits, false] }]
    }

    #[test]
    fn a_short_queue_has_room_until_it_is_full() {
        let views = Arc::new(FairViews::default());
        views.learn(&found(false), Instant::now());
        assert!(views.is_stale("mail", USUAL, 1), "not counted yet");
        views.counted("mail", USUAL, SHORT - 10);
        assert!(!views.is_stale("mail", USUAL, 1));
        assert_eq!(views.take_room("mail", USUAL, 4).0, 4);
        let (room, call) = views.take_room("mail", USUAL, 9);
        assert!(room == 6 && call.is_some() && views.is_contended("mail", USUAL));
        assert!(!views.is_contended("mail", Priority::Bulk), "another broker queue");
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_is_asked_for_once_before_the_room_is_taken() {
        let views = Arc::new(FairViews::default());
        views.counted("mail", USUAL, SHORT / 2);
        let ask = || {
            views.count_ahead("mail", USUAL);
            views.to_count()
        };
        tokio::time::advance(FULL_VALID).await;
        assert_eq!(ask(), [], "half of the room is left");
        views.take_room("mail", USUAL, 1);
        let asked = [("mail".to_owned(), USUAL)];
        assert_eq!(ask(), asked);
        tokio::time::timeout(FULL_VALID, views.count_asked.notified()).await.expect("told");
        assert_eq!(ask(), asked);
        let told_again = tokio::time::timeout(FULL_VALID, views.count_asked.notified()).await;
        assert!(told_again.is_err(), "the count is on its way");
        views.counted("mail", USUAL, SHORT);
        assert_eq!(ask(), [], "the count is new");
    }

    #[test]
    fn after_a_hold_all_jobs_are_held_until_a_later_read_finds_none() {
        let views = Arc::new(FairViews::default());
        let before = Instant::now();
        views.learn(&found(false), before);
        let (_, call) = views.take_room("mail", USUAL, SHORT + 1);
        views.learn(&found(false), Instant::now());
        assert!(views.is_contended("mail", USUAL), "the call has not ended");
        drop(call);
        views.learn(&found(false), before);
        assert!(views.is_contended("mail", USUAL), "the read began before the end of the call");
        views.counted("mail", USUAL, 0);
        assert_eq!(views.take_room("mail", USUAL, 1).0, 0, "an empty broker queue does not help");
        views.learn(&found(true), Instant::now() + Duration::from_millis(1));
        assert!(views.is_contended("mail", USUAL));
        views.learn(&found(false), Instant::now() + Duration::from_millis(1));
        assert!(!views.is_contended("mail", USUAL));
    }
}
