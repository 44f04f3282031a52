//! Cache of API keys, by their hashes, and notes of their last use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::{Timestamp, time::later};
use store::{
    OrderStore,
    domain::KeyId,
    merchants::{KEY_USE_EVERY, KeyHash, KeyRecord},
};
use tokio::sync::Semaphore;

/// Lifetime of a cached key: a revoked key works this much longer at most, half of what is promised. Without the cache
/// each request would read the store once more than its own work needs.
const CACHE_TTL: Duration = Duration::from_secs(5);
/// Cached keys at most. Unknown keys are not cached: they are free to invent and would evict real ones.
const CACHE_KEYS_MAX: usize = 10_000;
/// Concurrent notes of uses.
const WRITES_MAX: usize = 2;

/// Recently found keys, by their hashes: there is no text of a key to compare with, so the time of a comparison tells
/// nothing about a key.
#[derive(Default)]
pub(crate) struct KeyCache(Mutex<HashMap<KeyHash, (KeyRecord, Timestamp)>>);

/// Notes of the last use of keys, written beside the requests: a request neither waits for one nor fails with it.
pub(crate) struct KeyUses {
    /// When this process last noted a use, of at most [`CACHE_KEYS_MAX`] keys.
    noted: Mutex<HashMap<KeyId, Timestamp>>,
    /// Writes in progress. Without a free one a use is not noted; one of the next is.
    writes: Arc<Semaphore>,
}

impl Default for KeyUses {
    fn default() -> Self {
        Self { noted: Mutex::default(), writes: Arc::new(Semaphore::new(WRITES_MAX)) }
    }
}

impl KeyUses {
    /// Notes a use, at most once per key in [`KEY_USE_EVERY`].
    pub(crate) fn note(&self, orders: &Arc<dyn OrderStore>, key: &KeyRecord, now: Timestamp) {
        let Ok(write) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        if !self.is_due(key.id, now) {
            return;
        }
        let (orders, key) = (Arc::clone(orders), key.clone());
        tokio::spawn(async move {
            if let Err(error) = orders.note_key_use(&key, now).await {
                tracing::debug!(key.id = %key.id, %error, "use of a key not noted");
            }
            drop(write);
        });
    }

    fn is_due(&self, key: KeyId, now: Timestamp) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: Timestamp| at <= now && now < later(at, KEY_USE_EVERY);
        if noted.get(&key).copied().is_some_and(recent) {
            return false;
        }
        if noted.len() >= CACHE_KEYS_MAX {
            noted.retain(|_, at| recent(*at));
        }
        let has_room = noted.len() < CACHE_KEYS_MAX;
        if has_room {
            noted.insert(key, now);
        }
        has_room
    }
}

impl KeyCache {
    pub(crate) fn get(&self, hash: &KeyHash, now: Timestamp) -> Option<KeyRecord> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(hash).filter(|(_, found_at)| fresh(*found_at, now)).map(|(key, _)| key.clone())
    }

    pub(crate) fn put(&self, hash: KeyHash, key: KeyRecord, now: Timestamp) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHE_KEYS_MAX {
            keys.retain(|_, (_, found_at)| fresh(*found_at, now));
        }
        if keys.len() < CACHE_KEYS_MAX {
            keys.insert(hash, (key, now));
        }
    }
}

/// Whether an entry may be used. After the clock was set back, entries from the future count as expired.
fn fresh(found_at: Timestamp, now: Timestamp) -> bool {
    found_at <= now && now.duration_since(found_at) < CACHE_TTL.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};
    use store::{domain::MerchantId, merchants::KeyScope};

    use super::*;

    #[test]
    fn a_use_is_due_once_a_minute_per_key() {
        let (ambient, clock) = base::Ambient::steered(1, Timestamp::UNIX_EPOCH);
        let (uses, key, other) = (KeyUses::default(), KeyId::fresh(&ambient), KeyId::fresh(&ambient));
        let due = |key| uses.is_due(key, ambient.now());
        assert!(due(key) && !due(key) && due(other));
        clock.advance(KEY_USE_EVERY);
        assert!(due(key) && !due(key));
    }

    #[test]
    fn the_cache_forgets_and_stays_bounded() {
        let (ambient, clock) = base::Ambient::steered(1, Timestamp::UNIX_EPOCH);
        let record = KeyRecord {
            id: KeyId::fresh(&ambient),
            merchant: MerchantId::fresh(&ambient),
            scope: KeyScope::Secret,
        };
        let cache = KeyCache::default();
        for number in 0..=CACHE_KEYS_MAX {
            cache.put(Sha256::digest(number.to_be_bytes()).into(), record.clone(), ambient.now());
        }
        let first: KeyHash = Sha256::digest(0_usize.to_be_bytes()).into();
        assert_eq!(cache.0.lock().expect("not poisoned").len(), CACHE_KEYS_MAX);
        assert_eq!(cache.get(&first, ambient.now()), Some(record.clone()));
        clock.advance(CACHE_TTL);
        assert_eq!(cache.get(&first, ambient.now()), None);
        cache.put(first, record, ambient.now());
        assert_eq!(cache.0.lock().expect("not poisoned").len(), 1);
    }
}
