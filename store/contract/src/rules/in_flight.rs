//! Idempotency keys in flight in this process.
//!
//! Guarantees: a key is held by one request at a time and released when its [`KeyGuard`] is dropped. Only spares a
//! repeated request the wait for the first one; the stored record alone decides which order was placed. Bounded by
//! the number of requests in flight.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::MerchantId;

type Entry = (MerchantId, String);

/// Set of the keys in flight.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<HashSet<Entry>>>);

/// Guard of a key; releases it on drop.
pub struct KeyGuard {
    keys: InFlight,
    entry: Entry,
}

impl InFlight {
    /// Holds a key; `None` when another request holds it.
    pub fn hold(&self, merchant: MerchantId, key: &str) -> Option<KeyGuard> {
        let entry = (merchant, key.to_owned());
        let fresh = self.with(|keys| keys.insert(entry.clone()));
        fresh.then(|| KeyGuard { keys: self.clone(), entry })
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashSet<Entry>) -> T) -> T {
        // One insert or remove per lock: a panic under the lock leaves the set consistent.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        self.keys.with(|keys| keys.remove(&self.entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_once_per_merchant_until_dropped() {
        let keys = InFlight::default();
        let (one, other) =
            (MerchantId::derived(uuid::Uuid::nil(), "a"), MerchantId::derived(uuid::Uuid::nil(), "b"));
        let held = keys.hold(one, "k").expect("free");
        assert!(keys.hold(one, "k").is_none());
        assert!(keys.hold(other, "k").is_some());
        drop(held);
        assert!(keys.hold(one, "k").is_some());
    }
}
