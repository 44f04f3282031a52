//! Rate limits counted in this process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base::{
    Ambient, Timestamp,
    time::{between, later},
};

use super::{Claim, Decision, Lease, LimitError, Quota, RateLimits, Refused};

/// Least number of keys at which a sweep drops the keys at rest, which have no calls to pay off.
const SWEEP_MIN: usize = 1024;

/// A [`RateLimits`] in memory, bounded by the number of keys.
///
/// While the bound is reached by keys in use, calls with new keys are rejected: a caller that invents keys must not
/// evict the counters of others. Each kind of caller that can invent keys needs its own instance.
pub struct LocalLimits {
    ambient: Ambient,
    keys_max: usize,
    state: Mutex<LimitsState>,
}

struct LimitsState {
    /// The arrival time of each key: from then on its full burst is available.
    rests_at: HashMap<String, Timestamp>,
    sweep_at: usize,
}

impl LocalLimits {
    /// Keeps at most `keys_max` keys at a time.
    pub fn new(keys_max: usize, ambient: Ambient) -> Self {
        let state = LimitsState { rests_at: HashMap::new(), sweep_at: SWEEP_MIN.min(keys_max) };
        Self { ambient, keys_max, state: Mutex::new(state) }
    }

    /// The decision about one call, which never fails.
    pub fn decide(&self, key: &str, quota: &Quota) -> Decision {
        self.grant(key, quota, 1).into()
    }

    /// [`RateLimits::lease`], which never fails.
    pub(super) fn grant(&self, key: &str, quota: &Quota, calls: u32) -> Lease {
        let (now, mut state) = self.swept();
        let Some(ahead) = state.ahead(key, now, self.keys_max) else {
            return Lease { granted: 0, remaining: 0, retry_after: quota.interval };
        };
        let (lease, ahead) = Lease::of(quota, ahead, calls);
        if lease.granted > 0 {
            state.rests_at.insert(key.to_owned(), later(now, ahead));
        }
        lease
    }

    /// [`RateLimits::take_all`], which never fails.
    pub(super) fn grant_all(&self, claims: &[Claim]) -> Option<Refused> {
        let (now, mut state) = self.swept();
        let mut counted = Vec::new();
        for (index, Claim { key, quota, counts }) in claims.iter().enumerate() {
            let full = Refused { claim: index, retry_after: quota.interval };
            let Some(ahead) = state.ahead(key, now, self.keys_max) else { return Some(full) };
            let (lease, ahead) = Lease::of(quota, ahead, 1);
            if lease.granted == 0 {
                return Some(Refused { retry_after: lease.retry_after, ..full });
            }
            counted.extend(counts.then(|| (key.clone(), later(now, ahead))));
        }
        // A few keys beyond the bound at most: it is checked for each of them alone.
        state.rests_at.extend(counted);
        None
    }

    /// [`RateLimits::give_back`], which never fails.
    pub(super) fn return_calls(&self, claims: &[Claim]) {
        let (now, mut state) = self.swept();
        for Claim { key, quota, .. } in claims {
            let Some(ahead) = state.rests_at.get(key).map(|at| between(now, *at)) else { continue };
            let ahead = ahead.saturating_sub(quota.interval);
            if ahead.is_zero() {
                state.rests_at.remove(key);
            } else {
                state.rests_at.insert(key.clone(), later(now, ahead));
            }
        }
    }

    /// [`RateLimits::reset`], which never fails.
    pub(super) fn forget(&self, key: &str) {
        self.swept().1.rests_at.remove(key);
    }

    fn swept(&self) -> (Timestamp, MutexGuard<'_, LimitsState>) {
        let now = self.ambient.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(now, self.keys_max);
        (now, state)
    }
}

impl LimitsState {
    /// How far the arrival time of a key is ahead of now; `None` for a new key without room.
    fn ahead(&self, key: &str, now: Timestamp, keys_max: usize) -> Option<Duration> {
        match self.rests_at.get(key) {
            Some(at) => Some(between(now, *at)),
            None => (self.rests_at.len() < keys_max).then_some(Duration::ZERO),
        }
    }

    fn sweep(&mut self, now: Timestamp, keys_max: usize) {
        if self.rests_at.len() >= self.sweep_at {
            self.rests_at.retain(|_, at| *at > now);
            // The threshold doubles, so sweeps are rare however many keys stay.
            self.sweep_at = (self.rests_at.len() * 2).clamp(SWEEP_MIN.min(keys_max), keys_max);
        }
    }
}

#[async_trait]
impl RateLimits for LocalLimits {
    async fn lease(&self, key: &str, quota: &Quota, calls: u32) -> Result<Lease, LimitError> {
        Ok(self.grant(key, quota, calls))
    }

    async fn take_all(&self, claims: &[Claim]) -> Result<Option<Refused>, LimitError> {
        Ok(self.grant_all(claims))
    }

    async fn give_back(&self, claims: &[Claim]) -> Result<(), LimitError> {
        self.return_calls(claims);
        Ok(())
    }

    async fn reset(&self, key: &str) -> Result<(), LimitError> {
        self.forget(key);
        Ok(())
    }
}
