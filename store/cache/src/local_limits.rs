//! Rate limits counted in this process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base::{
    Ambient, Timestamp,
    time::{between, later},
};

use super::{Decision, LimitError, Quota, RateLimits};

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

    /// The decision, which never fails.
    pub fn decide(&self, key: &str, quota: &Quota) -> Decision {
        let now = self.ambient.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(now, self.keys_max);
        let rests_at = state.rests_at.get(key).copied();
        if rests_at.is_none() && state.rests_at.len() >= self.keys_max {
            return Decision { allowed: false, remaining: 0, retry_after: quota.interval };
        }
        let ahead = rests_at.map_or(Duration::ZERO, |at| between(now, at));
        let (decision, ahead) = Decision::of(quota, ahead);
        if decision.allowed {
            state.rests_at.insert(key.to_owned(), later(now, ahead));
        }
        decision
    }
}

impl LimitsState {
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
    async fn check(&self, key: &str, quota: &Quota) -> Result<Decision, LimitError> {
        Ok(self.decide(key, quota))
    }
}
