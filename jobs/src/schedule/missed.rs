//! Fire times that passed while no scheduler ran.

use std::time::Duration;

use base::{
    Timestamp,
    time::{earlier, later},
};
use serde::{Deserialize, Serialize};

use super::timing::Timing;

/// Most missed runs of one schedule that [`Missed::All`] makes up for.
pub const RUNS_MAX: u32 = 100;
/// How late a run may be without being missed. More than it is late when another scheduler takes the lead, whose clock
/// may differ by a minute.
pub const ON_TIME: Duration = Duration::from_mins(2);

const MILLISECOND: Duration = Duration::from_millis(1);

/// What becomes of missed runs, those more than [`ON_TIME`] late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// They are dropped.
    Skip,
    /// The latest one is run, unless one follows that is on time; the others are dropped.
    #[default]
    Latest,
    /// All are run, oldest first; of more than this number, at most [`RUNS_MAX`], the latest ones.
    All(u32),
}

impl Missed {
    /// Fire times to run now, oldest first, of a schedule whose next fire time was `due`.
    pub(super) fn runs(self, timing: &Timing, due: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let since = earlier(now, ON_TIME).max(due);
        let on_time = between(timing, since, later(now, MILLISECOND));
        let mut runs = match self {
            Self::Skip => Vec::new(),
            Self::Latest if !on_time.is_empty() => Vec::new(),
            Self::Latest => latest(timing, due, since, 1),
            Self::All(most) => latest(timing, due, since, usize::try_from(most).unwrap_or(usize::MAX)),
        };
        runs.extend(on_time);
        runs
    }
}

/// Fire times from `from` on and before `until`.
fn between(timing: &Timing, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    timing.upcoming(earlier(from, MILLISECOND)).take_while(|at| *at < until).collect()
}

/// The latest of these fire times. Searched backwards in growing spans: a year has 31 million seconds.
fn latest(timing: &Timing, from: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
    let mut span = Duration::from_hours(1);
    loop {
        let start = earlier(until, span).max(from);
        let mut times = between(timing, start, until);
        if times.len() >= most || start == from {
            return times.split_off(times.len().saturating_sub(most));
        }
        span = span.saturating_mul(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-29T{text}Z").parse().expect("a time")
    }

    #[test]
    fn missed_runs_are_dropped_joined_or_made_up_for() {
        let timing = Timing::every(Duration::from_mins(10)).expect("an interval");
        let due = at("12:10:00");
        for (now, missed, runs) in [
            ("12:10:00", Missed::Skip, &["12:10:00"][..]),
            ("12:12:00", Missed::Skip, &["12:10:00"][..]),
            ("12:12:01", Missed::Skip, &[][..]),
            ("13:05:00", Missed::Latest, &["13:00:00"][..]),
            ("13:00:30", Missed::Latest, &["13:00:00"][..]),
            ("13:05:00", Missed::All(3), &["12:40:00", "12:50:00", "13:00:00"][..]),
            ("13:00:30", Missed::All(1), &["12:50:00", "13:00:00"][..]),
            ("12:25:00", Missed::All(100), &["12:10:00", "12:20:00"][..]),
            ("12:09:59", Missed::All(100), &[][..]),
        ] {
            let expected: Vec<_> = runs.iter().map(|run| at(run)).collect();
            assert_eq!(missed.runs(&timing, due, at(now)), expected, "{missed:?} at {now}");
        }
    }

    #[test]
    fn years_of_missed_seconds_cost_no_more_than_an_hour_of_them() {
        let timing = Timing::every(Duration::from_secs(1)).expect("an interval");
        let now = at("12:00:00");
        let runs = Missed::All(RUNS_MAX).runs(&timing, Timestamp::UNIX_EPOCH, now);
        assert_eq!((runs.len(), runs.last()), (221, Some(&now)));
        assert_eq!(Missed::Skip.runs(&timing, Timestamp::UNIX_EPOCH, now).len(), 121);
    }
}
