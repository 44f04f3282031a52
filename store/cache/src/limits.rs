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

/// The answer of a limit to a request for several calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Calls that are allowed and counted, made now or later; 0 where none is.
    pub granted: u32,
    /// Further calls allowed at once.
    pub remaining: u32,
    /// The delay after which a call will be allowed; zero where some are granted.
    pub retry_after: Duration,
}

/// One key of a call that counts by several, see [`RateLimits::take_all`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub key: String,
    pub quota: Quota,
    /// Whether an allowed call is counted; otherwise it is only asked whether one would be allowed.
    pub counts: bool,
}

/// The first key that does not allow a call by several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Index into the claims.
    pub claim: usize,
    /// The delay after which this key will allow the call.
    pub retry_after: Duration,
}

impl Lease {
    /// Decides by how far a key's arrival time is ahead of now before `calls` calls; returns also how far ahead it is
    /// afterwards.
    pub(super) fn of(quota: &Quota, ahead: Duration, calls: u32) -> (Self, Duration) {
        let tolerance = quota.tolerance();
        let room = tolerance.saturating_sub(ahead).as_nanos() / quota.interval.as_nanos().max(1);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let granted = calls.max(1).min(room);
        if granted == 0 {
            let retry_after = (ahead + quota.interval).saturating_sub(tolerance);
            return (Self { granted, remaining: 0, retry_after }, ahead);
        }
        let lease = Self { granted, remaining: room - granted, retry_after: Duration::ZERO };
        (lease, ahead + quota.interval * granted)
    }
}

impl From<Lease> for Decision {
    /// The decision about one call.
    fn from(lease: Lease) -> Self {
        let Lease { granted, remaining, retry_after } = lease;
        Self { allowed: granted > 0, remaining, retry_after }
    }
}

/// The shared counters cannot be reached; the caller decides by local ones.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the rate limit counters are unavailable: {detail}")]
pub struct LimitError {
    /// The cause, without secrets.
    pub detail: String,
}

/// Counts calls per key. Keys of different quotas must differ: put the name of the limit first. Two quotas of one key
/// are possible where they have the same interval: then the larger burst is what some callers of the key get.
#[async_trait]
pub trait RateLimits: Send + Sync + 'static {
    /// Requests up to `calls` calls, at least one; as many as are allowed are granted and counted.
    async fn lease(&self, key: &str, quota: &Quota, calls: u32) -> Result<Lease, LimitError>;

    /// Requests one call that all claims must allow, in one step. `None` when they do, and those that count have
    /// counted it; a refused call is counted by none. Each key once.
    async fn take_all(&self, claims: &[Claim]) -> Result<Option<Refused>, LimitError>;

    /// Takes one counted call back from each of these keys. A key without counted calls stays as it is.
    async fn give_back(&self, claims: &[Claim]) -> Result<(), LimitError>;

    /// Forgets all calls of a key.
    async fn reset(&self, key: &str) -> Result<(), LimitError>;

    /// Requests one call.
    async fn check(&self, key: &str, quota: &Quota) -> Result<Decision, LimitError> {
        Ok(self.lease(key, quota, 1).await?.into())
    }
}
