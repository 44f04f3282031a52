//! Rate limits of checkout: by address before a key is looked up, by key after. And of carts, by address; of registering
//! and signing in, by address and by account.
//!
//! Guarantees: memory stays bounded whatever addresses call; a refused request has done nothing. A shield in this
//! process comes first, so that a flood does not become one of questions to a server; then the limit by key is asked of
//! counters that all processes share, where there are such. The other limits hold per process.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, time::Duration};

use axum::extract::FromRequestParts;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue, request};
use sha2::{Digest, Sha256};
use store::{
    cache::RateLimits,
    customers::email_key,
    domain::{KeyId, MerchantId},
    merchants::KeyRecord,
};

use crate::{
    auth, client,
    config::{CartLimits, CheckoutLimits, SignInLimits},
    problem::{Kind, Problem},
    state::ApiState,
};

/// Keys one limiter keeps apart; all further ones share one allowance until quiet keys are forgotten.
const KEYS_MAX: usize = 100_000;
/// How often quiet keys are forgotten.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

const BY_IP: &str = "checkout-ip";
const BY_KEY: &str = "checkout-key";
const CARTS_BY_IP: &str = "cart-ip";
const NEW_CARTS_BY_IP: &str = "new-cart-ip";
const NEW_CARTS_BY_MERCHANT: &str = "new-cart-merchant";
const SIGN_IN_BY_IP: &str = "sign-in-ip";
const SIGN_IN_BY_ACCOUNT: &str = "sign-in-account";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

type Governor<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// All limiters.
pub(crate) struct Limiters {
    by_ip: Limiter<IpAddr>,
    by_key: Limiter<KeyId>,
    carts_by_ip: Limiter<IpAddr>,
    new_carts_by_ip: Limiter<IpAddr>,
    new_carts_by_merchant: Limiter<MerchantId>,
    sign_in_by_ip: Limiter<IpAddr>,
    /// By a hash of merchant and address, for whoever signs in makes both up: keys stay short.
    sign_in_by_account: Limiter<[u8; 32]>,
}

struct Limiter<K: Hash + Eq + Clone> {
    name: &'static str,
    /// `None` stands for everybody beyond [`KEYS_MAX`].
    governor: Governor<Option<K>>,
    clock: DefaultClock,
    interval: Duration,
    burst: NonZeroU32,
}

impl Limiters {
    pub(crate) fn new(checkout: CheckoutLimits, sign_in: SignInLimits, carts: CartLimits) -> Self {
        let per_ip = SECOND / checkout.per_ip_per_second.get();
        let (of_ip, of_merchant) = (carts.new_per_ip_per_minute, carts.new_per_merchant_per_day);
        let per_key = SECOND / checkout.per_key_per_second.get();
        let sign_in_per_ip = MINUTE / sign_in.per_ip_per_minute.get();
        let sign_in_per_account = MINUTE / sign_in.per_account_per_minute.get();
        Self {
            by_ip: Limiter::new(BY_IP, per_ip, checkout.burst),
            by_key: Limiter::new(BY_KEY, per_key, checkout.burst),
            carts_by_ip: Limiter::new(CARTS_BY_IP, per_ip, checkout.burst),
            new_carts_by_ip: Limiter::new(NEW_CARTS_BY_IP, MINUTE / of_ip.get(), of_ip),
            new_carts_by_merchant: Limiter::new(NEW_CARTS_BY_MERCHANT, DAY / of_merchant.get(), of_merchant),
            sign_in_by_ip: Limiter::new(SIGN_IN_BY_IP, sign_in_per_ip, sign_in.burst),
            sign_in_by_account: Limiter::new(SIGN_IN_BY_ACCOUNT, sign_in_per_account, sign_in.burst),
        }
    }

    /// The allowance of an account's password, which may not exist.
    pub(crate) fn take_sign_in(&self, merchant: MerchantId, email: &str) -> Result<(), Problem> {
        let account = Sha256::digest(format!("{merchant} {}", email_key(email)));
        self.sign_in_by_account.take(account.into()).map(drop)
    }

    /// The allowance of a key, first here, then over all processes.
    async fn take_by_key(&self, key: KeyId, shared: &dyn RateLimits) -> Result<RateFields, Problem> {
        let limiter = &self.by_key;
        let here = limiter.take(key)?;
        let quota = store::cache::Quota { interval: limiter.interval, burst: limiter.burst.get() };
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
        self.carts_by_ip.sweep();
        self.new_carts_by_ip.sweep();
        self.new_carts_by_merchant.sweep();
        self.sign_in_by_ip.sweep();
        self.sign_in_by_account.sweep();
    }
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// One request per `interval` in the long run.
    fn new(name: &'static str, interval: Duration, burst: NonZeroU32) -> Self {
        let clock = DefaultClock::default();
        let interval = interval.max(Duration::from_nanos(1));
        // `None` only for no time at all.
        let quota = Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
        let quota = quota.allow_burst(burst);
        let governor = RateLimiter::dashmap_with_clock(quota, clock.clone()).with_middleware();
        Self { name, governor, clock, interval, burst }
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
        let seconds = seconds_ceil(wait);
        let problem = Problem::new(Kind::RATE_LIMITED, format!("try again in {seconds} s"));
        self.fields(0, seconds).onto(problem.retry_after(seconds).violating(self.name))
    }

    /// Those of draft-ietf-httpapi-ratelimit-headers. `seconds`: until more than `remaining` may be sent.
    fn fields(&self, remaining: u32, seconds: u64) -> RateFields {
        let (name, burst) = (self.name, self.burst);
        let window_seconds = seconds_ceil(self.interval * burst.get());
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
        let key = known(parts, state, &state.limiters.by_ip).await?;
        let rate = state.limiters.take_by_key(key.id, &*state.limits).await?;
        Ok(Self { key, rate })
    }
}

/// A caller let through to carts: address limit, then key.
pub(crate) struct CartCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for CartCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        known(parts, state, &state.limiters.carts_by_ip).await.map(Self)
    }
}

/// A caller let through to making a cart, which is kept: address limit, key, limit of the merchant.
pub(crate) struct NewCartCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for NewCartCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let key = known(parts, state, &state.limiters.new_carts_by_ip).await?;
        state.limiters.new_carts_by_merchant.take(key.merchant)?;
        Ok(Self(key))
    }
}

/// A caller let through to where passwords are worked on: address limit, then key.
pub(crate) struct PasswordCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for PasswordCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        known(parts, state, &state.limiters.sign_in_by_ip).await.map(Self)
    }
}

/// The holder of the request's key, looked up only within the limit of its address.
async fn known(
    parts: &request::Parts,
    state: &ApiState,
    by_ip: &Limiter<IpAddr>,
) -> Result<KeyRecord, Problem> {
    by_ip.take(client::address(parts, &state.config.trusted_proxies))?;
    auth::authenticate(&parts.headers, state).await
}

/// Rounded up: whoever comes back then is let through.
fn seconds_ceil(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_apart_until_there_are_too_many() {
        let one = NonZeroU32::MIN;
        let limiter = Limiter::<u32>::new("test", SECOND, one);
        assert!(limiter.take(1).is_ok() && limiter.take(1).is_err() && limiter.take(2).is_ok());
        for key in 3..=u32::try_from(KEYS_MAX).expect("small") {
            drop(limiter.take(key));
        }
        assert!(limiter.take(1_000_000).is_ok(), "the first to use the shared allowance");
        assert!(limiter.take(1_000_001).is_err(), "which is used up now");
        assert!(limiter.governor.len() <= KEYS_MAX + 1);
    }
}
