//! One rate limit: governor over a bounded table, and its header fields and problem for callers.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cache::RateLimits;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::table::{Caller, Table};
use crate::problem::{Kind, Problem, Result};

type Governor = RateLimiter<Caller, Table, DefaultClock, StateInformationMiddleware>;

/// A rate limit of this process.
pub(super) struct Limiter {
    /// The name that clients and operators see.
    pub(super) name: &'static str,
    governor: Governor,
    table: Table,
    clock: DefaultClock,
    interval: Duration,
    burst: NonZeroU32,
    refused: AtomicU64,
}

impl Limiter {
    /// One request per `interval` in the long run.
    pub(super) fn new(name: &'static str, interval: Duration, burst: NonZeroU32) -> Self {
        let clock = DefaultClock::default();
        let interval = interval.max(Duration::from_nanos(1));
        // `None` only for a zero interval, which was excluded above.
        let quota = Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
        let table = Table::new(interval);
        let governor = Governor::new(quota.allow_burst(burst), table.clone(), clock.clone());
        let refused = AtomicU64::new(0);
        Self { name, governor, table, clock, interval, burst, refused }
    }

    /// `number` requests per `span` in the long run, and as many at once.
    pub(super) fn per(name: &'static str, span: Duration, number: NonZeroU32) -> Self {
        Self::new(name, span / number.get(), number)
    }

    /// Takes one request from the caller's allowance; returns the header fields with the rest of it.
    pub(super) fn take_told(&self, caller: Caller) -> Result<HeaderMap> {
        self.take(caller).map(|remaining| self.fields(remaining, 1))
    }

    /// The same, checked in this process first and then over all processes: a flood of requests must not become a flood
    /// of queries to the counter server.
    pub(super) async fn take_shared(
        &self,
        caller: Caller,
        name: &str,
        shared: &dyn RateLimits,
    ) -> Result<HeaderMap> {
        let here = self.take(caller)?;
        let quota = cache::Quota { interval: self.interval, burst: self.burst.get() };
        // Without an answer the limit of this process alone holds; the implementation has logged the cause.
        let Ok(decision) = shared.check(name, &quota).await else { return Ok(self.fields(here, 1)) };
        if !decision.allowed {
            return Err(self.refusal(decision.retry_after));
        }
        Ok(self.fields(here.min(decision.remaining), 1))
    }

    /// Takes one request from the caller's allowance; returns how many more may follow at once.
    pub(super) fn take(&self, caller: Caller) -> Result<u32> {
        match self.governor.check_key(&caller) {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(not_until) => Err(self.refusal(not_until.wait_time_from(self.clock.now()))),
        }
    }

    /// Gives the caller its whole allowance back.
    pub(super) fn forget(&self, caller: Caller) {
        self.table.forget(caller);
    }

    fn refusal(&self, wait: Duration) -> Problem {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let seconds = seconds_ceil(wait);
        let problem = Problem::new(Kind::RATE_LIMITED, format!("try again in {seconds} s"));
        problem.retry_after(seconds).violating(self.name).with_headers(self.fields(0, seconds))
    }

    /// Requests rejected since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Fields of draft-ietf-httpapi-ratelimit-headers. `seconds`: until more than `remaining` may be sent.
    fn fields(&self, remaining: u32, seconds: u64) -> HeaderMap {
        let (name, burst) = (self.name, self.burst);
        let window_seconds = seconds_ceil(self.interval * burst.get());
        let fields = [
            ("ratelimit-policy", format!("\"{name}\";q={burst};w={window_seconds}")),
            ("ratelimit", format!("\"{name}\";r={remaining};t={seconds}")),
        ];
        let valid = fields.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
        });
        valid.collect()
    }

    /// Removes callers that have been idle long enough to have their whole burst again.
    pub(super) fn sweep(&self) {
        self.governor.retain_recent();
        self.governor.shrink_to_fit();
    }
}

/// Rounded up, so that a client that retries then is allowed.
fn seconds_ceil(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
