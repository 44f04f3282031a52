//! Limits and waits of the shares.

use std::time::Duration;

/// Failures in a row after which an endpoint is paused.
pub const FAILURES_MAX: u32 = 5;
/// The first pause of an endpoint, doubled with each failed probe.
pub(super) const REST_MIN: Duration = Duration::from_secs(5);
/// The longest pause: the latest time after which a recovered endpoint is noticed.
pub const REST_MAX: Duration = Duration::from_mins(5);
/// The shortest wait for a turn.
pub(super) const TURN_MIN: Duration = Duration::from_millis(100);
/// The furthest turn that is assigned.
pub(super) const TURN_MAX: Duration = Duration::from_mins(5);
/// The longest wait of a message without a turn, however old it is.
pub(super) const WAIT_MAX: Duration = Duration::from_hours(2);

/// Limits of concurrent posts in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimits {
    pub per_merchant: usize,
    pub per_endpoint: usize,
    /// Posts in the slow lane, over all merchants; one merchant has a quarter of its share there.
    pub slow: usize,
    /// Longest time for an answer in the quick lane.
    pub quick: Duration,
}

impl ShareLimits {
    /// Limits for a queue with this many slots: a quarter for one merchant, a quarter for the slow lane, two for one
    /// endpoint.
    pub fn of_slots(slots: usize) -> Self {
        let quarter = (slots / 4).max(1);
        Self { per_merchant: quarter, per_endpoint: 2, slow: quarter, quick: Duration::from_secs(3) }
    }
}

/// The facts about a message that decide its wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Whether no attempt has failed yet.
    pub first: bool,
    pub age: Duration,
}

/// Why a post must wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The endpoint is paused after repeated failures.
    Rest(Duration),
    /// The merchant's share, the endpoint's, or the slow lane is used up.
    Turn(Duration),
}

/// The full pause after this many failures in a row; zero below [`FAILURES_MAX`].
pub(super) fn rest_of(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(FAILURES_MAX) else { return Duration::ZERO };
    REST_MIN.saturating_mul(1 << doublings.min(16)).min(REST_MAX)
}
