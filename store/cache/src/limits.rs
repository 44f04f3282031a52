//! Rate limits per key: a sustained rate with a burst.
//!
//! The rule is GCRA (ITU-T I.371, the "virtual scheduling" form): a key has a theoretical arrival time, each call
//! advances it by the interval of its quota, and a call that would advance it beyond the burst is rejected. Only that
//! one number per key is stored, and nothing has to refill it.

use std::time::Duration;

use async_trait::async_trait;

/// The allowed rate and burst of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// One call per interval in the long run.
    pub interval: Duration,
    /// Calls at once; at least one.
    pub burst: u32,
}

impl Quota {
    /// `rate` calls per second, up to `burst` at once.
    pub fn per_second(rate: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / rate.max(1), burst: burst.max(1) }
    }

    /// The limit of how far ahead of now a key's arrival time may be.
    pub(super) fn tolerance(&self) -> Duration {
        self.interval * self.burst.max(1)
    }
}

/// The answer of a limit to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the call is allowed. Only an allowed call is counted.
    pub allowed: bool,
    /// Further calls allowed at once.
    pub remaining: u32,
    /// The delay after which a call will be allowed; zero for an allowed call.
    pub retry_after: Duration,
}

impl Decision {
    /// Decides by how far a key's arrival time is ahead of now before the call; returns also how far ahead it is
    /// afterwards.
    pub(super) fn of(quota: &Quota, ahead: Duration) -> (Self, Duration) {
        let (tolerance, after) = (quota.tolerance(), ahead + quota.interval);
        if after > tolerance {
            return (
                Self { allowed: false, remaining: 0, retry_after: after.saturating_sub(tolerance) },
                ahead,
            );
        }
        let left = tolerance.saturating_sub(after).as_nanos() / quota.interval.as_nanos().max(1);
        let remaining = u32::try_from(left).unwrap_or(u32::MAX);
        (Self { allowed: true, remaining, retry_after: Duration::ZERO }, after)
    }
}

/// The shared counters cannot be reached; the caller decides by local ones.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the rate limit counters are unavailable: {detail}")]
pub struct LimitError {
    /// The cause, without secrets.
    pub detail: String,
}

/// Counts calls per key. Keys of different quotas must differ: put the name of the limit first.
#[async_trait]
pub trait RateLimits: Send + Sync + 'static {
    /// Requests one call.
    async fn check(&self, key: &str, quota: &Quota) -> Result<Decision, LimitError>;
}
