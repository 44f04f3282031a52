//! Cache of what merchants have chosen for their checkout.
//!
//! Guarantees: a choice holds for every request that begins [`CACHE_TTL`] after it was made, in every process. Without
//! the cache each order would read the store once more than its own work needs.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::{Timestamp, time::between};
use store::{OrderStore, StoreError, checkout::CheckoutSettings, domain::MerchantId};

/// Lifetime of cached choices.
const CACHE_TTL: Duration = Duration::from_secs(5);
/// Cached merchants at most; those beyond are read each time.
const CACHE_MERCHANTS_MAX: usize = 10_000;

/// Recently read choices, by merchant.
#[derive(Default)]
pub(crate) struct CheckoutChoices(Mutex<HashMap<MerchantId, (CheckoutSettings, Timestamp)>>);

impl CheckoutChoices {
    /// The choices of a merchant; those of an unknown one are the default.
    pub(crate) async fn of(
        &self,
        orders: &dyn OrderStore,
        merchant: MerchantId,
        now: Timestamp,
    ) -> Result<CheckoutSettings, StoreError> {
        if let Some(found) = self.get(merchant, now) {
            return Ok(found);
        }
        let found = orders.checkout_settings(merchant).await?.unwrap_or_default();
        self.put(merchant, found.clone(), now);
        Ok(found)
    }

    fn get(&self, merchant: MerchantId, now: Timestamp) -> Option<CheckoutSettings> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.get(&merchant).filter(|(_, read_at)| is_fresh(*read_at, now)).map(|(found, _)| found.clone())
    }

    fn put(&self, merchant: MerchantId, found: CheckoutSettings, now: Timestamp) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= CACHE_MERCHANTS_MAX {
            cached.retain(|_, (_, read_at)| is_fresh(*read_at, now));
        }
        if cached.len() < CACHE_MERCHANTS_MAX {
            cached.insert(merchant, (found, now));
        }
    }
}

/// Whether an entry may be used. After the clock was set back, entries from the future count as expired.
fn is_fresh(read_at: Timestamp, now: Timestamp) -> bool {
    read_at <= now && between(read_at, now) < CACHE_TTL
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;

    #[test]
    fn choices_are_cached_for_seconds_and_bounded() {
        let (ambient, clock) = Ambient::steered(1, Timestamp::UNIX_EPOCH);
        let (cache, merchant) = (CheckoutChoices::default(), MerchantId::fresh(&ambient));
        let chosen = CheckoutSettings { reserve_minutes: Some(5), ..CheckoutSettings::default() };
        assert_eq!(cache.get(merchant, ambient.now()), None);
        cache.put(merchant, chosen.clone(), ambient.now());
        assert_eq!(cache.get(merchant, ambient.now()), Some(chosen.clone()));
        for _ in 0..=CACHE_MERCHANTS_MAX {
            cache.put(MerchantId::fresh(&ambient), chosen.clone(), ambient.now());
        }
        assert_eq!(cache.0.lock().expect("not poisoned").len(), CACHE_MERCHANTS_MAX);
        clock.advance(CACHE_TTL);
        assert_eq!(cache.get(merchant, ambient.now()), None);
        cache.put(merchant, chosen, ambient.now());
        assert_eq!(cache.0.lock().expect("not poisoned").len(), 1);
    }
}
