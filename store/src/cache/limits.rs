//! Rate limits: so many a time, with a burst, per key.
//!
//! The rule is GCRA (ITU-T I.371, the "virtual scheduling" form): a key has a theoretical arrival time, each call moves
//! it on by the interval of its quota, and a call that would move it farther than the burst allows is turned away. One
//! number per key is all that is kept, and nothing has to refill it.

use std::time::Duration;

use async_trait::async_trait;

use super::LocalLimits;

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// One call per so much time in the long run.
    pub interval: Duration,
    /// Calls at once, at least one.
    pub burst: u32,
}

impl Quota {
    /// So many calls a second, so many at once.
    pub fn per_second(rate: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / rate.max(1), burst: burst.max(1) }
    }

    /// How far ahead of now a key may be.
    pub(super) fn tolerance(&self) -> Duration {
        self.interval * self.burst.max(1)
    }
}

/// What a limit says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the call may go on. If so it is counted, else not.
    pub allowed: bool,
    /// How many more may follow at once.
    pub remaining: u32,
    /// When to come again; zero for an allowed call.
    pub retry_after: Duration,
}

impl Decision {
    /// Decides by how far a key is ahead of now, its arrival time, before the call; answers also how far afterwards.
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

/// The counters cannot be reached; decide by others.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the rate limit counters are unavailable: {detail}")]
pub struct LimitError {
    /// What is known, without secrets.
    pub detail: String,
}

/// Counts calls per key. Keys of different quotas must differ: put the name of the limit first.
#[async_trait]
pub trait RateLimits: Send + Sync + 'static {
    /// Asks for one call.
    async fn check(&self, key: &str, quota: &Quota) -> Result<Decision, LimitError>;
}

/// Counters for all processes, and local ones for when those cannot be reached.
///
/// The local ones hold per process: with N processes up to N times the quota passes while the server is away. A limit
/// that fails open would let everything pass, one that fails closed would turn an outage of a counter into one of the
/// shop.
pub struct Limits {
    shared: Box<dyn RateLimits>,
    local: LocalLimits,
}

impl Limits {
    /// `local` answers whenever `shared` cannot.
    pub fn new(shared: impl RateLimits, local: LocalLimits) -> Self {
        Self { shared: Box::new(shared), local }
    }

    /// Asks for one call; never fails.
    pub async fn check(&self, key: &str, quota: &Quota) -> Decision {
        match self.shared.check(key, quota).await {
            Ok(decision) => decision,
            Err(_) => self.local.decide(key, quota),
        }
    }
}

#[async_trait]
impl RateLimits for Limits {
    async fn check(&self, key: &str, quota: &Quota) -> Result<Decision, LimitError> {
        Ok(Self::check(self, key, quota).await)
    }
}
