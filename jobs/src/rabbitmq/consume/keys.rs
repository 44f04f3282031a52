//! Concurrency keys within one engine handle, and the runs of its lost consumers.
//!
//! Guarantees: of all deliveries of this handle with one key, over all its queues, one is dispatched at a time. A run
//! whose consumer was lost keeps its key, and its job is not dispatched again here, until it ends: until its outcome
//! arrives, its delivery is dropped, or its settler, which a worker holds for as long as a run. Does not reach other
//! processes: a broker has no lock that is released when its holder dies.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::engine::{JobSignal, Receipt};

#[derive(Default)]
pub(crate) struct Keys {
    state: Mutex<KeyState>,
    /// Number of [`KeyState::lost`], so that a job without a key takes no lock while there are none.
    lost: AtomicUsize,
    freed: watch::Sender<()>,
}

#[derive(Default)]
struct KeyState {
    /// The keys in use, each with its holder.
    taken: HashMap<String, Holder>,
    /// At most the prefetches of all consumers lost since their oldest run began.
    lost: Vec<LostRun>,
}

/// Session and delivery tag.
type Holder = (u64, u64);

/// A run whose consumer was lost.
pub(super) struct LostRun {
    pub(super) receipt: Receipt,
    pub(super) signal: JobSignal,
}

impl LostRun {
    fn holder(&self) -> Holder {
        (self.receipt.session, self.receipt.tag)
    }

    /// False once its delivery is dropped.
    fn goes_on(&self) -> bool {
        self.signal.is_shared()
    }
}

impl Keys {
    /// Takes the key of a job, if it has one, for this delivery. Returns false when the key is in use, or an earlier
    /// run of the job goes on.
    pub(super) fn take(&self, key: Option<&str>, receipt: Receipt) -> bool {
        if key.is_none() && self.lost.load(Ordering::SeqCst) == 0 {
            return true;
        }
        let mut state = self.state.lock();
        if state.lost.iter().any(|run| run.receipt.job == receipt.job && run.goes_on()) {
            return false;
        }
        let Some(key) = key else { return true };
        let has_ended =
            |holder: &Holder| state.lost.iter().any(|run| run.holder() == *holder && !run.goes_on());
        if state.taken.get(key).is_some_and(|holder| !has_ended(holder)) {
            return false;
        }
        state.taken.insert(key.to_owned(), (receipt.session, receipt.tag));
        true
    }

    /// Frees the key if this delivery holds it.
    pub(super) fn free(&self, key: &str, session: u64, tag: u64) {
        let mut state = self.state.lock();
        if state.taken.get(key) == Some(&(session, tag)) {
            state.taken.remove(key);
            drop(state);
            self.freed.send_replace(());
        }
    }

    /// Keeps the runs of a lost session until they end.
    pub(super) fn keep(&self, runs: Vec<LostRun>) {
        let mut state = self.state.lock();
        state.lost.extend(runs);
        self.lost.store(state.lost.len(), Ordering::SeqCst);
    }

    /// Frees all keys of an ended session, except those of its lost runs.
    pub(super) fn free_all(&self, session: u64) {
        let mut state = self.state.lock();
        let KeyState { taken, lost } = &mut *state;
        let lost: HashSet<Holder> = lost.iter().map(LostRun::holder).collect();
        taken.retain(|_, holder| holder.0 != session || lost.contains(holder));
        drop(state);
        self.freed.send_replace(());
    }

    /// Notes that the run with this receipt has ended.
    pub(super) fn ended(&self, receipt: Receipt) {
        self.forget(|run| run.receipt == receipt);
    }

    /// Notes that all runs of a session have ended.
    pub(super) fn ended_all(&self, session: u64) {
        self.forget(|run| run.receipt.session == session);
    }

    /// Forgets runs whose deliveries were dropped.
    pub(super) fn forget_dropped(&self) {
        self.forget(|run| !run.goes_on());
    }

    fn forget(&self, which: impl Fn(&LostRun) -> bool) {
        if self.lost.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut state = self.state.lock();
        let KeyState { taken, lost } = &mut *state;
        let ended: HashSet<Holder> = lost.iter().filter(|run| which(run)).map(LostRun::holder).collect();
        if ended.is_empty() {
            return;
        }
        lost.retain(|run| !ended.contains(&run.holder()));
        taken.retain(|_, holder| !ended.contains(holder));
        self.lost.store(lost.len(), Ordering::SeqCst);
        drop(state);
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

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;
    use crate::envelope::JobId;

    fn receipt(job: JobId, session: u64) -> Receipt {
        Receipt { job, tag: 4, session }
    }

    /// Keys with one lost run, of session 1, and the signal that the run holds.
    fn keys_with_a_lost_run(job: JobId) -> (Keys, JobSignal) {
        let (keys, signal) = (Keys::default(), JobSignal::default());
        assert!(keys.take(Some("printer"), receipt(job, 1)));
        keys.keep(vec![LostRun { receipt: receipt(job, 1), signal: signal.clone() }]);
        keys.free_all(1);
        (keys, signal)
    }

    #[test]
    fn a_lost_run_keeps_key_and_job_until_it_ends() {
        let [job, other] = [(); 2].map(|()| JobId::fresh(&Ambient::system()));
        let settled = |keys: &Keys| keys.ended(receipt(job, 1));
        let settler_dropped = |keys: &Keys| keys.ended_all(1);
        for end in [&settled as &dyn Fn(&Keys), &settler_dropped] {
            let (keys, _signal) = keys_with_a_lost_run(job);
            assert!(!keys.take(None, receipt(job, 2)) && !keys.take(Some("printer"), receipt(other, 2)));
            assert!(keys.take(None, receipt(other, 2)));
            keys.forget_dropped();
            assert!(!keys.take(None, receipt(job, 2)), "its delivery lives");
            end(&keys);
            assert!(keys.take(None, receipt(job, 2)) && keys.take(Some("printer"), receipt(other, 2)));
        }
    }

    #[test]
    fn a_delivery_that_was_never_started_keeps_nothing() {
        let [job, other] = [(); 2].map(|()| JobId::fresh(&Ambient::system()));
        let (keys, signal) = keys_with_a_lost_run(job);
        drop(signal);
        assert!(keys.take(Some("printer"), receipt(other, 2)) && keys.take(None, receipt(job, 2)));
        keys.forget_dropped();
        assert!(!keys.take(Some("printer"), receipt(job, 2)), "the key has a new holder");
    }
}
