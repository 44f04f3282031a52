//! The contract of shared limits: slots and starts per key, which the worker processes of any engine share.
//!
//! Guarantees of every implementation: as for [`super`]; calls for one key take turns. All times are the store's, that
//! of the server or of the machine: clocks of processes do not count, only their pace. A caller measures what it was
//! granted from before it has sent the request, by a clock that does not go back; so the store never takes back what a
//! caller still holds.
//! - **Slots**: the sum over the holders whose leases have not expired is never above the limit.
//! - **Starts**: in any window as long as the period, no more than the limit were granted. Proof: a block with an end
//!   `e` counts until `e + per`. Take a window from `x` up to `x + per`, and of the blocks that may have starts in it
//!   the one that was granted last, at `g`, before `x + per`. Each of the others ends at `x` or later, so it counts
//!   until `x + per` at least, and was counted at `g`, when all of them together were held to the limit. A block that
//!   is returned keeps the starts that were used, all of them before its new end.
//!
//! All of a limit's processes must name the same numbers; while they differ, as in a rollout, each holds to its own.
//! Decides nothing about jobs: see [`crate::limits`].

use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use serde::Serialize;

use crate::{engine::EngineError, envelope::JobId};

/// Most keys in one call of [`SharedLimits::lease`] or [`SharedLimits::starts`], and most rows in one of
/// [`SharedLimits::park`]; on a server each key is a lock until the call ends.
pub const LIMIT_KEYS_MAX: usize = 200;
/// Most parked jobs of a key, hardly exceeded by calls at the same moment. Further jobs wait without a row, so they
/// come when their snooze ends.
pub const PARKED_MAX: u32 = 10_000;
/// Most rows of each kind deleted by one call of [`SharedLimits::expire_limits`].
pub const LIMITS_EXPIRED_MAX: u32 = 10_000;
/// Most keys listed by one call of [`SharedLimits::limits_in_use`].
pub const LIMITS_LISTED_MAX: u32 = 1000;
/// Parked jobs of a key that [`SharedLimits::limits_in_use`] counts: those that were parked first.
pub const PARKED_COUNTED_MAX: u32 = 1000;
/// Least and longest validity of a block of starts, between which it is a quarter of the period: shorter than a call to
/// the store it would end before its first use; a longer one keeps starts from others.
const BLOCK_VALID: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A key and the slots that a process asks for.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseWant {
    pub limit: String,
    pub key: String,
    /// Slots to hold from now on; zero ends the lease.
    pub slots: u32,
    /// Slots of all processes together.
    pub max: u32,
}

/// Answer to a [`LeaseWant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasedSlots {
    /// Slots that the process holds now, none above those that it asked for.
    pub slots: u32,
    /// Slots that no process holds.
    pub free: u32,
    /// Whether jobs are parked at the key.
    pub parked: bool,
}

/// A key and the starts that a process asks for.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartsWant {
    pub limit: String,
    pub key: String,
    /// Zero only asks what is free.
    pub starts: u32,
    /// Starts of all processes together, per period.
    pub max: u32,
    pub per: Duration,
}

/// Answer to a [`StartsWant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedStarts {
    /// Id of the block, for [`SharedLimits::return_starts`].
    pub block: i64,
    /// Starts granted, none above those asked for.
    pub starts: u32,
    /// Time from the request on in which they may be used.
    pub valid_for: Duration,
    /// Starts that are left for others now.
    pub free: u32,
    /// Time until starts become free that are in use now; zero if none are.
    pub free_in: Duration,
    /// Whether jobs are parked at the key.
    pub parked: bool,
}

/// A block of which not all starts were used.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedStarts {
    pub limit: String,
    pub key: String,
    pub block: i64,
    /// Starts that were used, all before the call.
    pub used: u32,
}

/// A job that waits for a slot or a start, snoozed in its queue.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedJob {
    pub limit: String,
    pub key: String,
    pub job: JobId,
    /// Time after which the job comes by itself.
    pub comes_in: Duration,
}

/// A key in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitInUse {
    /// Name of the limit.
    pub limit: String,
    /// The key.
    pub key: String,
    /// Slots that processes hold; some may be idle.
    pub leased: u64,
    /// Processes that hold them.
    pub holders: u64,
    /// Starts that count now, used or not.
    pub starts: u64,
    /// Jobs that wait for a slot or a start, counted up to [`PARKED_COUNTED_MAX`].
    pub parked: u64,
    /// Time at which the first of them was parked, by the store's clock.
    pub oldest_parked_at: Option<Timestamp>,
}

/// Conditions of [`SharedLimits::limits_in_use`].
#[derive(Debug, Clone, Default)]
pub struct LimitFilter {
    /// Only this limit.
    pub limit: Option<String>,
    /// Page start: only keys after this name and key.
    pub after: Option<(String, String)>,
    /// Most keys returned, [`LIMITS_LISTED_MAX`] at most.
    pub most: u32,
}

/// Slots and starts that processes share, and the jobs that wait for them. Each key is named at most once in a call.
#[async_trait]
pub trait SharedLimits: Send + Sync + 'static {
    /// Sets the slots of a process at these keys, for `ttl` from now, to as many of those that it asks for as others
    /// leave; one answer each. It renews, grows, shrinks and ends leases alike, so it may be repeated after an error.
    async fn lease(
        &self,
        holder: &str,
        wants: Vec<LeaseWant>,
        ttl: Duration,
    ) -> Result<Vec<LeasedSlots>, EngineError>;

    /// Grants starts; one answer each. After an error the starts may be lost until their period is over.
    async fn starts(&self, wants: Vec<StartsWant>) -> Result<Vec<GrantedStarts>, EngineError>;

    /// Returns the rest of blocks that are not used any more.
    async fn return_starts(&self, unused: Vec<UnusedStarts>) -> Result<(), EngineError>;

    /// Notes jobs that wait, in place of earlier rows of them; beyond [`PARKED_MAX`] of a key none.
    async fn park(&self, jobs: Vec<ParkedJob>) -> Result<(), EngineError>;

    /// Takes the rows of the jobs that wait longest, `most` at most, and returns the jobs in this order.
    async fn unpark(&self, limit: &str, key: &str, most: u32) -> Result<Vec<JobId>, EngineError>;

    /// Keys in use, by name and key. A page costs the same whatever other keys are in use; rows that have ended are
    /// passed over until they are deleted.
    async fn limits_in_use(&self, filter: &LimitFilter) -> Result<Vec<LimitInUse>, EngineError>;

    /// Deletes what has ended, [`LIMITS_EXPIRED_MAX`] rows of each kind at most; returns how many. Nothing of it counts
    /// any more; it bounds the tables.
    async fn expire_limits(&self) -> Result<u64, EngineError>;
}

/// Validity of a block of starts.
pub(super) fn valid_for(per: Duration) -> Duration {
    (per / 4).clamp(BLOCK_VALID.0, BLOCK_VALID.1)
}

/// A stored number of slots, starts or jobs.
pub(super) fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// A stored number of milliseconds, none below zero.
pub(super) fn span(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
