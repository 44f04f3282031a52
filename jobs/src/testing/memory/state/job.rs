//! One job of the in-memory engine and its states.

use base::{Timestamp, TraceContext};

use crate::{
    engine::{DeadInfo, DeadReason, JobSignal, Receipt},
    envelope::Envelope,
    unique::UniqueStates,
};

pub(super) struct StoredJob {
    pub(super) envelope: Envelope,
    pub(super) order: u64,
    pub(super) place: StoredJobState,
    /// Whether a consumer has had it since it was published or redriven.
    pub(super) fetched: bool,
    pub(super) crashes: u32,
    /// Crashes while its consumer held no other job.
    pub(super) alone: u32,
    pub(super) last_error: Option<String>,
    pub(super) first_failed_at: Option<Timestamp>,
    pub(super) cancelled: bool,
}

pub(super) enum StoredJobState {
    Ready { since: Timestamp },
    Delayed { at: Timestamp },
    Running { receipt: Receipt, signal: JobSignal },
    Dead(DeadInfo),
}

impl StoredJob {
    /// Whether it holds its unique key by its state, if it has one.
    pub(super) fn holds_key(&self) -> bool {
        let is_dead = matches!(self.place, StoredJobState::Dead(_));
        match self.envelope.unique.states() {
            UniqueStates::Waiting => !self.fetched && !is_dead,
            UniqueStates::Active => !is_dead,
            UniqueStates::Kept => true,
        }
    }

    pub(super) fn fail(&mut self, error: String, now: Timestamp) {
        self.last_error = Some(error);
        self.first_failed_at.get_or_insert(now);
    }

    pub(super) fn dead(&self, reason: DeadReason, now: Timestamp) -> StoredJobState {
        let first_failed_at = self.first_failed_at.unwrap_or(now);
        StoredJobState::Dead(DeadInfo { reason, first_failed_at, died_at: now })
    }

    /// Makes the job ready now, with fresh attempts when it was dead.
    pub(super) fn revive(&mut self, order: u64, now: Timestamp) {
        if matches!(self.place, StoredJobState::Dead(_)) {
            self.envelope.attempt = 0;
            self.envelope.trace = self.envelope.trace.take().map(TraceContext::linked);
            (self.crashes, self.alone, self.fetched) = (0, 0, false);
            self.first_failed_at = None;
        }
        self.envelope.run_at = None;
        self.order = order;
        self.place = StoredJobState::Ready { since: now };
    }
}
