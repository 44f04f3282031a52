//! Unique keys of the in-memory engine: by the states of jobs, and by periods.

use base::Timestamp;

use super::{MemoryState, StoredJob, StoredJobState};
use crate::{
    engine::{HolderState, KeyHolder},
    envelope::Envelope,
};

impl MemoryState {
    /// The job that holds the unique key of this one; itself, if its period lasts and no other job holds the key.
    pub(super) fn key_holder(&self, envelope: &Envelope, now: Timestamp) -> Option<KeyHolder> {
        let key = envelope.unique_key.as_ref()?;
        let holds = |held: &&StoredJob| {
            let is_other = held.envelope.id != envelope.id;
            is_other && held.envelope.unique_key.as_ref() == Some(key) && held.holds_key()
        };
        if let Some(other) = self.jobs.values().find(holds) {
            return Some(KeyHolder { id: other.envelope.id, state: other.place.holder_state() });
        }
        let (id, _) = self.periods.get(key).filter(|(_, end)| *end > now)?;
        Some(KeyHolder { id: *id, state: HolderState::Period })
    }

    /// The other job that holds the unique key of this one.
    pub(super) fn other_holder(&self, envelope: &Envelope, now: Timestamp) -> Option<KeyHolder> {
        self.key_holder(envelope, now).filter(|holder| holder.id != envelope.id)
    }

    /// Begins the period of a published job's key, and forgets those that have ended.
    pub(super) fn begin_period(&mut self, envelope: &Envelope, now: Timestamp) {
        self.periods.retain(|_, (_, end)| *end > now);
        if let Some(key) = &envelope.unique_key
            && let Some(end) = envelope.unique.period_end(envelope.created_at)
        {
            self.periods.insert(key.clone(), (envelope.id, end));
        }
    }
}

impl StoredJobState {
    const fn holder_state(&self) -> HolderState {
        match self {
            Self::Ready { .. } | Self::Delayed { .. } => HolderState::Waiting,
            Self::Running { .. } => HolderState::Running,
            Self::Dead(_) => HolderState::Dead,
        }
    }
}
