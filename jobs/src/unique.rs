//! Unique keys: how long a job holds its key, and the job that a refused duplicate met.
//!
//! The sets of states are named and few: a list of states of one's own that forgets one lets duplicates in silently.

use std::{fmt, time::Duration};

use base::{Timestamp, time::later};
use serde::{Deserialize, Serialize};

use crate::id::JobId;

/// How long a job holds its [`Job::unique_key`](crate::Job::unique_key): while it is in certain states, and with
/// [`Unique::within`] also for a period; whichever ends later.
///
/// ```
/// # use {orderworks_jobs::Unique, std::time::Duration};
/// const SUMMARY: Unique = Unique::WHILE_ACTIVE.within(Duration::from_hours(1)); // one an hour at most
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unique {
    states: UniqueStates,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period_ms: Option<u64>,
}

/// The states in which a job holds its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UniqueStates {
    /// From publishing until a worker first fetches the job; never again after that, but when it is redriven.
    Waiting,
    /// From publishing until the job ends or is dead.
    #[default]
    Active,
    /// From publishing until the job ends; while it is dead, too, until it is redriven and ends, or is dropped.
    Kept,
}

crate::names::names!(UniqueStates { Waiting: "waiting", Active: "active", Kept: "kept" });

impl Unique {
    /// While the job waits to be fetched by a worker: a second one is accepted before the first begins to run, so that
    /// it sees what the first no longer could. A retry does not take the key again.
    pub const WHILE_WAITING: Self = Self { states: UniqueStates::Waiting, period_ms: None };
    /// While the job waits or runs, its retries included: the default.
    pub const WHILE_ACTIVE: Self = Self { states: UniqueStates::Active, period_ms: None };
    /// While the job waits, runs or is dead: nothing takes its place before an operator has looked at it.
    pub const WHILE_KEPT: Self = Self { states: UniqueStates::Kept, period_ms: None };
    /// Shortest period of a key.
    pub const PERIOD_MIN: Duration = Duration::from_secs(1);
    /// Longest period of a key, which bounds how many keys of ended jobs are kept.
    pub const PERIOD_MAX: Duration = Duration::from_hours(24 * 31);

    /// Holds the key at least for this period after [`Envelope::created_at`](crate::Envelope::created_at), however the
    /// job ends: [`Self::PERIOD_MIN`] to [`Self::PERIOD_MAX`], in milliseconds. Another period is an error at
    /// registration and at publishing.
    #[must_use]
    pub const fn within(self, period: Duration) -> Self {
        let millis = period.as_secs().saturating_mul(1000).saturating_add(period.subsec_millis() as u64);
        Self { states: self.states, period_ms: Some(millis) }
    }

    /// The states in which the job holds its key.
    pub const fn states(&self) -> UniqueStates {
        self.states
    }

    /// The period, if there is one.
    pub fn period(&self) -> Option<Duration> {
        self.period_ms.map(Duration::from_millis)
    }

    /// End of the period of a job that was first published at this time, if there is one.
    pub fn period_end(&self, created_at: Timestamp) -> Option<Timestamp> {
        self.period().map(|period| later(created_at, period))
    }

    /// Whether the period, if there is one, is within the bounds.
    pub(crate) fn is_valid(&self) -> bool {
        self.period().is_none_or(|period| (Self::PERIOD_MIN..=Self::PERIOD_MAX).contains(&period))
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// As it is kept in columns and headers. A set of states that this release does not know counts as the default; a
    /// period out of range is not valid.
    pub(crate) fn stored(states: Option<&str>, period_ms: Option<i64>) -> Self {
        let states = states.and_then(UniqueStates::parse).unwrap_or_default();
        Self { states, period_ms: period_ms.map(|ms| u64::try_from(ms).unwrap_or(0)) }
    }

    /// The name of the states, unless they are the default.
    pub(crate) fn states_name(&self) -> Option<&'static str> {
        (self.states != UniqueStates::default()).then(|| self.states.as_str())
    }

    /// The period in milliseconds.
    pub(crate) fn stored_period(&self) -> Option<i64> {
        self.period_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

/// The job that holds a unique key which another one asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHolder {
    /// Id of the job.
    pub id: JobId,
    /// Why it holds the key, as far as the engine knows it without a search.
    pub state: HolderState,
}

/// State of the holder of a unique key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderState {
    /// It waits, ready or delayed.
    Waiting,
    /// A worker has it.
    Running,
    /// It waits or runs; the engine does not know which of the two.
    Active,
    /// It is dead and kept, with [`Unique::WHILE_KEPT`].
    Dead,
    /// The period of its key lasts; the job itself may have ended.
    Period,
}

crate::names::names!(HolderState {
    Waiting: "waiting",
    Running: "running",
    Active: "active",
    Dead: "dead",
    Period: "period",
});

impl fmt::Display for KeyHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.state {
            HolderState::Waiting => "which waits",
            HolderState::Running => "which runs",
            HolderState::Active => "which waits or runs",
            HolderState::Dead => "which is dead",
            HolderState::Period => "whose period lasts",
        };
        write!(f, "{}, {why}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_reads_back() {
        let hour = Duration::from_hours(1);
        let all = [Unique::WHILE_WAITING, Unique::WHILE_ACTIVE, Unique::WHILE_KEPT];
        for unique in all.into_iter().flat_map(|unique| [unique, unique.within(hour)]) {
            assert_eq!(Unique::stored(unique.states_name(), unique.stored_period()), unique);
            let json = serde_json::to_string(&unique).unwrap();
            assert_eq!(serde_json::from_str::<Unique>(&json).unwrap(), unique);
        }
        assert_eq!(Unique::stored(Some("of a later release"), None), Unique::WHILE_ACTIVE);
    }

    #[test]
    fn a_period_has_bounds() {
        let valid = |period| Unique::WHILE_WAITING.within(period).is_valid();
        assert!(valid(Unique::PERIOD_MIN) && valid(Unique::PERIOD_MAX));
        assert!(!valid(Duration::ZERO) && !valid(Duration::MAX));
        assert!(!valid(Unique::PERIOD_MAX + Duration::from_secs(1)));
        assert!(!Unique::stored(None, Some(-1)).is_valid() && Unique::WHILE_KEPT.is_valid());
    }
}
