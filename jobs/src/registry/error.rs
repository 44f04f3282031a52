//! Errors of a registry.

use std::time::Duration;

/// Reason why a job type, or its limit, cannot join a registry.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A message could not tell the two types apart.
    #[error("kind `{kind}` is claimed by both `{first}` and `{second}`")]
    DuplicateKind { kind: &'static str, first: &'static str, second: &'static str },
    #[error("kind `{kind}` of `{job}` must match [a-z0-9_]{{1,60}}")]
    BadKind { kind: &'static str, job: &'static str },
    #[error("queue `{queue}` of `{job}` must match [a-z0-9_]{{1,60}}")]
    BadQueue { queue: &'static str, job: &'static str },
    #[error("`{job}` allows no attempt; MAX_ATTEMPTS counts the first run too")]
    NoAttempts { job: &'static str },
    #[error("`{job}` has a UNIQUE with a period of {period:?}, which must be 1 s to 31 days")]
    BadUniquePeriod { job: &'static str, period: Duration },
    /// Its signal would fire at once, or never.
    #[error(
        "`{job}` has a SOFT_TIMEOUT of {soft:?}, which must be above zero and below its TIMEOUT of {timeout:?}"
    )]
    BadSoftTimeout { job: &'static str, soft: Duration, timeout: Duration },
    #[error("`{job}` must be registered before its limit")]
    LimitBeforeJob { job: &'static str },
    #[error("`{job}` has a limit already; a kind has one at most")]
    SecondLimit { job: &'static str },
    /// The kinds that share a limit are counted together.
    #[error("limit `{limit}` of `{job}` has other numbers than at an earlier kind")]
    UnequalLimits { limit: String, job: &'static str },
}
