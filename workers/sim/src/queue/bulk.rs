//! Changes of waiting jobs by a bulk operation, as engines make them: each is of one job and in one step, but for a
//! redrive, which publishes the job before it deletes the old copy.

use std::{sync::Arc, time::Duration};

use jobs::Envelope;

use super::{SimJob, SimQueue};

impl SimQueue {
    /// The copies that no consumer has, ready or not.
    pub(crate) fn waiting(&self) -> Vec<u64> {
        let state = self.0.state.lock();
        state.copies.iter().filter(|(_, held)| held.lease.is_none()).map(|(number, _)| *number).collect()
    }

    /// Makes a copy ready after this time and not at its own, if it waits still.
    pub(crate) fn reschedule(&self, number: u64, wait: Duration) {
        if let Some(held) = self.take_waiting(number) {
            // Under another number: the timer of this one finds nothing.
            self.keep(None, held, wait);
        }
    }

    /// Publishes a job again with fresh attempts, if it waits still.
    pub(crate) fn publish_again(&self, number: u64) {
        let waiting = |held: &&SimJob| held.lease.is_none();
        let envelope =
            self.0.state.lock().copies.get(&number).filter(waiting).map(|held| Arc::clone(&held.envelope));
        let Some(envelope) = envelope else { return };
        self.0.trace.note("redriven", || envelope.id.to_string());
        let fresh = Envelope { attempt: 0, run_at: None, ..(*envelope).clone() };
        self.keep(None, SimJob { envelope: Arc::new(fresh), crashes: 0, lease: None }, Duration::ZERO);
    }

    /// Deletes a copy, if it waits still.
    pub(crate) fn delete(&self, number: u64) {
        drop(self.take_waiting(number));
    }

    fn take_waiting(&self, number: u64) -> Option<SimJob> {
        let mut state = self.0.state.lock();
        let waits = state.copies.get(&number).is_some_and(|held| held.lease.is_none());
        if waits { state.remove(number) } else { None }
    }
}
