//! One rate limit: governor over a bounded table, the quota over all processes, and its header fields and problem for
//! callers.
//!
//! Guarantees: a call is checked in this process first and only then over all processes, so that a flood of requests
//! does not become a flood of queries to the counter server; without an answer of that server the limit of this process
//! alone holds.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::response::{IntoResponse, Response};
use cache::RateLimits;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    shared_quota::SharedQuota,
    table::{Caller, Table},
};
use crate::problem::{Kind, Problem, Result};

type Governor = RateLimiter<Caller, Table, DefaultClock, StateInformationMiddleware>;

/// A rate limit, of this process and, where processes share their counters, of all of them.
pub(super) struct Limiter {
    /// The name that clients and operators see.
    pub(super) name: &'static str,
    governor: Governor,
    table: Table,
    clock: DefaultClock,
    interval: Duration,
    burst: NonZeroU32,
    refused: AtomicU64,
    shared: Option<SharedQuota>,
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
        Self { name, governor, table, clock, interval, burst, refused, shared: None }
    }

    /// `number` requests per `span` in the long run, and as many at once.
    pub(super) fn per(name: &'static str, span: Duration, number: NonZeroU32) -> Self {
        Self::new(name, span / number.get(), number)
    }

    /// The same limit over all processes that share these counters.
    pub(super) fn over(self, shared: Option<&Arc<dyn RateLimits>>) -> Self {
        let (name, interval, burst) = (self.name, self.interval, self.burst.get());
        let shared = shared.map(|limits| SharedQuota::new(name, interval, burst, Arc::clone(limits)));
        Self { shared, ..self }
    }

    /// Takes one request from the caller's allowance; returns the header fields with the rest of it.
    pub(super) async fn take_told(&self, caller: Caller) -> Result<HeaderMap> {
        self.take(caller).await.map(|remaining| self.fields(remaining, 1))
    }

    /// Takes one request from the caller's allowance; returns how many more may follow at once.
    pub(super) async fn take(&self, caller: Caller) -> Result<u32> {
        let here = match self.governor.check_key(&caller) {
            Ok(state) => state.remaining_burst_capacity(),
            Err(not_until) => return Err(self.refusal(not_until.wait_time_from(self.clock.now()))),
        };
        let Some(shared) = &self.shared else { return Ok(here) };
        // The implementation has logged why there is no answer.
        let Some(lease) = shared.take(caller).await else { return Ok(here) };
        if lease.granted == 0 {
            return Err(self.refusal(lease.retry_after));
        }
        Ok(here.min(lease.remaining))
    }

    /// Gives the caller its whole allowance back.
    pub(super) async fn forget(&self, caller: Caller) {
        self.table.forget(caller);
        if let Some(shared) = &self.shared {
            shared.forget(caller).await;
        }
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

    fn fields(&self, remaining: u32, seconds: u64) -> HeaderMap {
        rate_fields(self.name, self.interval, self.burst.get(), remaining, seconds)
    }

    /// Removes callers that have been idle long enough to have their whole burst again.
    pub(super) fn sweep(&self) {
        self.governor.retain_recent();
        self.governor.shrink_to_fit();
        if let Some(shared) = &self.shared {
            shared.sweep();
        }
    }
}

/// An answer with the fields of an allowance, beside those of another limit that it may tell already.
pub(crate) fn with_rate(rate: HeaderMap, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    for (name, value) in &rate {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// Fields of draft-ietf-httpapi-ratelimit-headers. `seconds`: until more than `remaining` may be sent.
pub(crate) fn rate_fields(
    name: &str,
    interval: Duration,
    burst: u32,
    remaining: u32,
    seconds: u64,
) -> HeaderMap {
    let window_seconds = seconds_ceil(interval * burst);
    let fields = [
        ("ratelimit-policy", format!("\"{name}\";q={burst};w={window_seconds}")),
        ("ratelimit", format!("\"{name}\";r={remaining};t={seconds}")),
    ];
    let valid = fields.into_iter().filter_map(|(name, value)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
    });
    valid.collect()
}

/// Rounded up, so that a client that retries then is allowed.
pub(crate) fn seconds_ceil(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
