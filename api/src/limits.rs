//! Rate limits of checkout: by address before a key is looked up, by key after.
//!
//! Guarantees: memory stays bounded whatever addresses call; a refused request has done nothing. A shield in this
//! process comes first, so that a flood does not become one of questions to a server; then the limit by key is asked of
//! counters that all processes share, where there are such. The limit by address holds per process.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, time::Duration};

use axum::extract::FromRequestParts;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue, request};
use store::{cache::RateLimits, domain::KeyId, merchants::KeyRecord};

use crate::{
    auth, client,
    config::CheckoutLimits,
    problem::{Kind, Problem},
    state::ApiState,
};

/// Keys one limiter keeps apart; all further ones share one allowance until quiet keys are forgotten.
const KEYS_MAX: usize = 100_000;
/// How often quiet keys are forgotten.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

const BY_IP: &str = "checkout-ip";
const BY_KEY: &str = "checkout-key";

type Governor<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// The limiters of checkout.
pub(crate) struct Limiters {
    by_ip: Limiter<IpAddr>,
    by_key: Limiter<KeyId>,
}

struct Limiter<K: Hash + Eq + Clone> {
    name: &'static str,
    /// `None` stands for everybody beyond [`KEYS_MAX`].
    governor: Governor<Option<K>>,
    clock: DefaultClock,
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl Limiters {
    pub(crate) fn new(limits: CheckoutLimits) -> Self {
        Self {
            by_ip: Limiter::new(BY_IP, limits.per_ip_per_second, limits.burst),
            by_key: Limiter::new(BY_KEY, limits.per_key_per_second, limits.burst),
        }
    }

    /// The allowance of a key, first here, then over all processes.
    async fn take_by_key(&self, key: KeyId, shared: &dyn RateLimits) -> Result<RateFields, Problem> {
        let limiter = &self.by_key;
        let here = limiter.take(key)?;
        let quota = store::cache::Quota::per_second(limiter.per_second.get(), limiter.burst.get());
        // Without an answer the shield alone holds; whoever keeps the counters has said so.
        let Ok(decision) = shared.check(&format!("checkout:{key}"), &quota).await else {
            return Ok(limiter.fields(here, 1));
        };
        if !decision.allowed {
            return Err(limiter.refused(decision.retry_after));
        }
        Ok(limiter.fields(here.min(decision.remaining), 1))
    }

    /// Forgets keys that have been quiet long enough to have their whole burst again.
    pub(crate) fn sweep(&self) {
        self.by_ip.sweep();
        self.by_key.sweep();
    }
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(name: &'static str, per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let clock = DefaultClock::default();
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let governor = RateLimiter::dashmap_with_clock(quota, clock.clone()).with_middleware();
        Self { name, governor, clock, per_second, burst }
    }

    /// Takes one request out of the key's allowance here; answers how many more may follow at once.
    fn take(&self, key: K) -> Result<u32, Problem> {
        let key = (self.governor.len() < KEYS_MAX).then_some(key);
        match self.governor.check_key(&key) {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(not_until) => Err(self.refused(not_until.wait_time_from(self.clock.now()))),
        }
    }

    fn refused(&self, wait: Duration) -> Problem {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let problem = Problem::new(Kind::RATE_LIMITED, format!("try again in {seconds} s"));
        self.fields(0, seconds).onto(problem.retry_after(seconds).violating(self.name))
    }

    /// Those of draft-ietf-httpapi-ratelimit-headers. `seconds`: until more than `remaining` may be sent.
    fn fields(&self, remaining: u32, seconds: u64) -> RateFields {
        let (name, burst) = (self.name, self.burst);
        let window_seconds = burst.get().div_ceil(self.per_second.get());
        RateFields {
            policy: format!("\"{name}\";q={burst};w={window_seconds}"),
            limit: format!("\"{name}\";r={remaining};t={seconds}"),
        }
    }

    fn sweep(&self) {
        self.governor.retain_recent();
        self.governor.shrink_to_fit();
    }
}

/// The two header fields.
#[derive(Debug, Clone)]
pub(crate) struct RateFields {
    policy: String,
    limit: String,
}

impl RateFields {
    fn pairs(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let pairs = [("ratelimit-policy", &self.policy), ("ratelimit", &self.limit)];
        pairs.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
        })
    }

    /// For an answer.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.pairs().collect()
    }

    fn onto(&self, problem: Problem) -> Problem {
        self.pairs().fold(problem, |problem, (name, value)| problem.with_header(name, value))
    }
}

/// A caller let through to checkout: address limit, key, key limit, in this order, so that guessing keys is slow.
pub(crate) struct Admitted {
    pub(crate) key: KeyRecord,
    pub(crate) rate: RateFields,
}

impl FromRequestParts<ApiState> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        state.limiters.by_ip.take(client::address(parts, &state.config.trusted_proxies))?;
        let key = auth::authenticate(&parts.headers, state).await?;
        let rate = state.limiters.take_by_key(key.id, &*state.limits).await?;
        Ok(Self { key, rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_apart_until_there_are_too_many() {
        let one = NonZeroU32::MIN;
        let limiter = Limiter::<u32>::new("test", one, one);
        assert!(limiter.take(1).is_ok() && limiter.take(1).is_err() && limiter.take(2).is_ok());
        for key in 3..=u32::try_from(KEYS_MAX).expect("small") {
            drop(limiter.take(key));
        }
        assert!(limiter.take(1_000_000).is_ok(), "the first to use the shared allowance");
        assert!(limiter.take(1_000_001).is_err(), "which is used up now");
        assert!(limiter.governor.len() <= KEYS_MAX + 1);
    }
}
