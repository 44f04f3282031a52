//! Unique keys: held by the state of a row, as its job asks for, and by periods, which outlast the rows.

use orderworks_jobs::{
    Envelope, Timestamp,
    engine::{HolderState, JobState, KeyHolder},
    unique::UniqueStates,
};

use super::{Row, Rows};

impl Row {
    fn holds_key(&self) -> bool {
        match self.envelope.unique.states() {
            UniqueStates::Waiting => !self.fetched && self.dead.is_none(),
            UniqueStates::Active => self.dead.is_none(),
            UniqueStates::Kept => true,
        }
    }
}

impl Rows {
    /// The job that holds the unique key of this one; itself, if its period lasts and no other job holds the key.
    pub(crate) fn key_holder(&self, envelope: &Envelope, now: Timestamp) -> Option<KeyHolder> {
        let key = envelope.unique_key.as_ref()?;
        let holds = |row: &&Row| {
            let is_other = row.envelope.id != envelope.id;
            is_other && row.envelope.unique_key.as_ref() == Some(key) && row.holds_key()
        };
        if let Some(other) = self.jobs.values().find(holds) {
            let state = match other.state(now) {
                JobState::Running => HolderState::Running,
                JobState::Dead => HolderState::Dead,
                _ => HolderState::Waiting,
            };
            return Some(KeyHolder { id: other.envelope.id, state });
        }
        let (id, _) = self.periods.get(key).filter(|(_, end)| *end > now)?;
        Some(KeyHolder { id: *id, state: HolderState::Period })
    }

    /// The other job that holds the unique key of this one, which then stays dead.
    pub(crate) fn other_holder(&self, envelope: &Envelope, now: Timestamp) -> Option<KeyHolder> {
        self.key_holder(envelope, now).filter(|holder| holder.id != envelope.id)
    }

    /// Begins the period of a published job's key. Periods that have ended go, so that their number has a bound.
    pub(crate) fn begin_period(&mut self, envelope: &Envelope, now: Timestamp) {
        self.periods.retain(|_, (_, end)| *end > now);
        if let Some(key) = &envelope.unique_key
            && let Some(end) = envelope.unique.period_end(envelope.created_at)
        {
            self.periods.insert(key.clone(), (envelope.id, end));
        }
    }
}
