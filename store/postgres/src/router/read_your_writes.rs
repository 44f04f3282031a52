//! Read your writes: the time of the last write under each key, so that reads which a replica cannot answer yet go to
//! the primary.
//!
//! Guarantees: bounded, and safe when full: then every key counts as written just now. Knows only the writes of this
//! process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use base::ids::Uuid;
use tokio::time::Instant;

/// Keys kept at most, of about forty bytes each. Keys whose writes a replica has are removed when full.
const KEYS_MAX: usize = 20_000;

/// Merchants and orders, with the time of the last write under their id.
#[derive(Default)]
pub(super) struct RecentWrites(Mutex<RecentWritesState>);

#[derive(Default)]
struct RecentWritesState {
    keys: HashMap<Uuid, Instant>,
    /// The time at which every key counts as written, after the keys were cleared.
    all: Option<Instant>,
}

impl RecentWrites {
    /// Records a write that has just ended, whatever its result. The replica has all writes before `fresh_until`.
    pub(super) fn mark(&self, key: Uuid, fresh_until: Option<Instant>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.make_room(fresh_until);
        state.keys.insert(key, Instant::now());
    }

    /// Whether all writes under the key ended before `fresh_until`.
    pub(super) fn is_before(&self, key: Uuid, fresh_until: Instant) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = state.keys.get(&key).copied().max(state.all);
        last.is_none_or(|last| last <= fresh_until)
    }
}

impl RecentWritesState {
    fn make_room(&mut self, fresh_until: Option<Instant>) {
        if self.keys.len() < KEYS_MAX {
            return;
        }
        if let Some(fresh_until) = fresh_until {
            self.keys.retain(|_, at| *at > fresh_until);
        }
        // Half, so that not every write scans all keys while the replica lags.
        if self.keys.len() > KEYS_MAX / 2 {
            self.keys.clear();
            self.all = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(n: usize) -> Uuid {
        Uuid::from_u128(n as u128)
    }

    #[test]
    fn a_write_counts_for_its_keys_until_the_replica_has_it() {
        let (written, before) = (RecentWrites::default(), Instant::now());
        written.mark(key(1), None);
        assert!(!written.is_before(key(1), before));
        assert!(written.is_before(key(2), before));
        assert!(written.is_before(key(1), Instant::now()));
    }

    #[test]
    fn without_room_everybody_counts_as_a_writer() {
        let (written, before) = (RecentWrites::default(), Instant::now());
        for n in 0..=KEYS_MAX {
            written.mark(key(n), None);
        }
        assert!(!written.is_before(key(usize::MAX), before), "forgotten keys would be read too early");
        assert!(written.0.lock().expect("free").keys.len() <= KEYS_MAX);
    }

    #[test]
    fn what_the_replica_has_makes_room() {
        let (written, before) = (RecentWrites::default(), Instant::now());
        for n in 0..KEYS_MAX {
            written.mark(key(n), None);
        }
        written.mark(key(KEYS_MAX), Some(Instant::now() + Duration::from_secs(1)));
        assert!(written.is_before(key(7), before), "only what is no longer needed was forgotten");
        assert!(!written.is_before(key(KEYS_MAX), before));
    }
}
