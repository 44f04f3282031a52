//! Cache of API keys, by their hashes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::Timestamp;
use store::merchants::{KeyHash, KeyRecord};

/// Lifetime of a cached key: a revoked key works this much longer at most. Without the cache each request would read
/// the store once more than its own work needs.
const CACHE_TTL: Duration = Duration::from_secs(10);
/// Cached keys at most. Unknown keys are not cached: they are free to invent and would evict real ones.
const CACHE_KEYS_MAX: usize = 10_000;

/// Recently found keys. Looked up by hash, so the timing of a comparison tells nothing about a key.
#[derive(Default)]
pub(crate) struct KeyCache(Mutex<HashMap<KeyHash, (KeyRecord, Timestamp)>>);

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
    use store::{
        domain::{KeyId, MerchantId},
        merchants::KeyScope,
    };

    use super::*;

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
