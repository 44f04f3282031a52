//! Fire times of a schedule: by a cron expression in a time zone, or by an interval.
//!
//! Guarantees: a fire time depends on the timing alone, never on when or where it is calculated, so all schedulers find
//! the same ones. Rule for changes of the local clock, as cron(8) of cronie describes it:
//! - fixed hours (`30 2 * * *`): a time that the clock skips fires at the first instant after the gap, and several of
//!   one schedule in a gap fire once; of a time that the clock shows twice the first one fires;
//! - hours that begin with `*` (`15 * * * *`): each instant at which the clock shows a matching time fires, so runs go
//!   on by elapsed time; a skipped time does not fire, a repeated one fires twice.

use std::{fmt, time::Duration};

use base::Timestamp;
use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};
use serde::{Deserialize, Serialize};

use super::{cron::Cron, error::ScheduleError};

/// Shortest interval.
pub const EVERY_MIN: Duration = Duration::from_secs(1);
/// Longest interval.
pub const EVERY_MAX: Duration = Duration::from_hours(366 * 24);

const SECOND: Duration = Duration::from_secs(1);

/// When a schedule fires. Text form in JSON: `{"cron":"0 3 * * *","zone":"Europe/Berlin"}` or `{"every_seconds":600}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredTiming", into = "StoredTiming")]
pub enum Timing {
    /// By a cron expression, see [`Timing::cron`].
    Cron(CronTiming),
    /// At the multiples of an interval since 1970 (UTC), see [`Timing::every`].
    Every(Interval),
}

/// A cron expression in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronTiming {
    expression: String,
    cron: Cron,
    zone: TimeZone,
    zone_name: String,
}

/// A whole number of seconds, from [`EVERY_MIN`] to [`EVERY_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(u32);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredTiming {
    Cron { cron: String, zone: String },
    Every { every_seconds: u64 },
}

impl Timing {
    /// A cron expression of five fields (minute, hour, day of the month, month, day of the week) or six (second first)
    /// in a time zone of the IANA database, such as `Europe/Berlin` or `UTC`. The database is part of the program; a
    /// newer one of the system takes precedence.
    ///
    /// # Errors
    /// [`ScheduleError::Cron`] names the field, [`ScheduleError::Zone`] is for an unknown zone.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let cron = Cron::parse(expression)
            .map_err(|why| ScheduleError::Cron { expression: expression.to_owned(), why })?;
        let unknown = || ScheduleError::Zone(zone.to_owned());
        let zone = if zone == "UTC" { TimeZone::UTC } else { TimeZone::get(zone).map_err(|_| unknown())? };
        let zone_name = zone.iana_name().ok_or_else(unknown)?.to_owned();
        Ok(Self::Cron(CronTiming { expression: expression.to_owned(), cron, zone, zone_name }))
    }

    /// The multiples of an interval since 1970 (UTC): `every(10 minutes)` fires at :00, :10, :20 …
    ///
    /// # Errors
    /// [`ScheduleError::Interval`] unless it is a whole number of seconds from [`EVERY_MIN`] to [`EVERY_MAX`].
    pub fn every(interval: Duration) -> Result<Self, ScheduleError> {
        let is_valid = interval.subsec_nanos() == 0 && (EVERY_MIN..=EVERY_MAX).contains(&interval);
        let seconds = u32::try_from(interval.as_secs()).ok().filter(|_| is_valid);
        seconds.map(|seconds| Self::Every(Interval(seconds))).ok_or(ScheduleError::Interval(interval))
    }

    /// The first fire time after an instant; `None` where time ends.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next_after(after),
            Self::Every(Interval(seconds)) => {
                let seconds = i64::from(*seconds);
                let passed = after.as_second().div_euclid(seconds);
                Timestamp::from_second(passed.checked_add(1)?.checked_mul(seconds)?).ok()
            }
        }
    }

    /// The first fire times after an instant.
    pub fn upcoming(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after), move |at| self.next_after(*at))
    }
}

impl CronTiming {
    fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        // Fire times are whole seconds.
        let passed = Timestamp::from_second(after.as_second()).ok()?;
        if self.cron.is_hourly { self.next_shown(passed) } else { self.next_fixed(passed) }
    }

    /// The first matching time that comes after `passed`, each one taken once.
    fn next_fixed(&self, passed: Timestamp) -> Option<Timestamp> {
        let mut civil = self.zone.to_datetime(passed);
        loop {
            civil = self.cron.first_from(civil.checked_add(SECOND).ok()?)?;
            // Not later than `passed`: the second time that the clock shows it.
            let at = self.instant_of(civil)?;
            if at > passed {
                return Some(at);
            }
        }
    }

    /// The instant at which the clock shows a time first, or at which it skips it.
    fn instant_of(&self, civil: DateTime) -> Option<Timestamp> {
        let found = self.zone.to_ambiguous_timestamp(civil);
        let earlier = found.earlier().ok()?;
        match found.offset() {
            // With the offset after the gap, the time comes before it.
            AmbiguousOffset::Gap { .. } => self.zone.following(earlier).next().map(|gap| gap.timestamp()),
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => Some(earlier),
        }
    }

    /// The first instant after `passed` at which the clock shows a matching time. Between two changes of the offset the
    /// clock runs like any other.
    fn next_shown(&self, passed: Timestamp) -> Option<Timestamp> {
        let matching = |from: Timestamp, offset: Offset| {
            offset.to_timestamp(self.cron.first_from(offset.to_datetime(from))?).ok()
        };
        let mut from = Timestamp::from_second(passed.as_second().checked_add(1)?).ok()?;
        let mut offset = self.zone.to_offset(from);
        for change in self.zone.following(from) {
            let at = matching(from, offset)?;
            if at < change.timestamp() {
                return Some(at);
            }
            (from, offset) = (change.timestamp(), change.offset());
        }
        matching(from, offset)
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(CronTiming { expression, zone_name, .. }) => write!(f, "{expression} ({zone_name})"),
            Self::Every(Interval(seconds)) => write!(f, "every {seconds} s"),
        }
    }
}

impl From<Timing> for StoredTiming {
    fn from(timing: Timing) -> Self {
        match timing {
            Timing::Cron(CronTiming { expression, zone_name, .. }) => {
                Self::Cron { cron: expression, zone: zone_name }
            }
            Timing::Every(Interval(seconds)) => Self::Every { every_seconds: seconds.into() },
        }
    }
}

impl TryFrom<StoredTiming> for Timing {
    type Error = ScheduleError;

    fn try_from(stored: StoredTiming) -> Result<Self, ScheduleError> {
        match stored {
            StoredTiming::Cron { cron, zone } => Self::cron(&cron, &zone),
            StoredTiming::Every { every_seconds } => Self::every(Duration::from_secs(every_seconds)),
        }
    }
}
