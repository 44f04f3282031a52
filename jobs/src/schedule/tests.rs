//! Tests of fire times: expressions, changes of the local clock, errors.

use std::time::Duration;

use super::{Missed, Schedule, ScheduleError, Timing, fire_time};
use crate::{Job, JobContext, JobError, Timestamp};

#[derive(serde::Serialize, serde::Deserialize)]
struct Sweep;

impl Job for Sweep {
    type Env = ();
    const KIND: &'static str = "sweep";
    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Checks the next fire times; those expected are `MM-DDThh:mm` of the year of `after`, or whole.
fn fires(expression: &str, zone: &str, after: &str, expected: &[&str]) {
    let timing = Timing::cron(expression, zone).expect("a timing");
    let found: Vec<Timestamp> = timing.upcoming(at(after)).take(expected.len()).collect();
    let whole = |text: &&str| match text.len() {
        11 => at(&format!("{}-{text}:00Z", &after[..4])),
        _ => at(text),
    };
    let expected: Vec<Timestamp> = expected.iter().map(whole).collect();
    assert_eq!(found, expected, "{expression} {zone} after {after}");
}

const BERLIN: &str = "Europe/Berlin";
const NEW_YORK: &str = "America/New_York";
/// Its clock changes by half an hour.
const LORD_HOWE: &str = "Australia/Lord_Howe";

#[test]
fn a_fixed_time_that_the_clock_skips_fires_once_after_the_gap() {
    for (zone, expression, after, expected) in [
        (BERLIN, "30 2 * * *", "2026-03-28T12:00:00Z", ["03-29T01:00", "03-30T00:30"]),
        (BERLIN, "30 2 * * *", "2027-03-27T12:00:00Z", ["03-28T01:00", "03-29T00:30"]),
        (BERLIN, "*/20 2 * * *", "2026-03-28T12:00:00Z", ["03-29T01:00", "03-30T00:00"]),
        // From the last second before the gap, and from its end.
        (BERLIN, "30 2 * * *", "2026-03-29T00:59:59Z", ["03-29T01:00", "03-30T00:30"]),
        (BERLIN, "30 2 * * *", "2026-03-29T01:00:00Z", ["03-30T00:30", "03-31T00:30"]),
        (NEW_YORK, "30 2 * * *", "2026-03-07T12:00:00Z", ["03-08T07:00", "03-09T06:30"]),
        (NEW_YORK, "30 2 * * *", "2027-03-13T12:00:00Z", ["03-14T07:00", "03-15T06:30"]),
        (LORD_HOWE, "15 2 * * *", "2026-10-03T00:00:00Z", ["10-03T15:30", "10-04T15:15"]),
        (LORD_HOWE, "15 2 * * *", "2027-10-02T00:00:00Z", ["10-02T15:30", "10-03T15:15"]),
    ] {
        fires(expression, zone, after, &expected);
    }
}

#[test]
fn a_fixed_time_that_the_clock_shows_twice_fires_the_first_time() {
    for (zone, expression, after, expected) in [
        (BERLIN, "30 2 * * *", "2026-10-24T12:00:00Z", ["10-25T00:30", "10-26T01:30"]),
        (BERLIN, "30 2 * * *", "2027-10-30T12:00:00Z", ["10-31T00:30", "11-01T01:30"]),
        // From within the second time.
        (BERLIN, "30 2 * * *", "2026-10-25T01:10:00Z", ["10-26T01:30", "10-27T01:30"]),
        (NEW_YORK, "30 1 * * *", "2026-10-31T12:00:00Z", ["11-01T05:30", "11-02T06:30"]),
        (NEW_YORK, "30 1 * * *", "2027-11-06T12:00:00Z", ["11-07T05:30", "11-08T06:30"]),
        (LORD_HOWE, "45 1 * * *", "2026-04-04T00:00:00Z", ["04-04T14:45", "04-05T15:15"]),
        (LORD_HOWE, "45 1 * * *", "2027-04-03T00:00:00Z", ["04-03T14:45", "04-04T15:15"]),
    ] {
        fires(expression, zone, after, &expected);
    }
}

#[test]
fn hours_with_a_star_go_on_by_elapsed_time() {
    for (zone, expression, after, expected) in [
        (BERLIN, "30 * * * *", "2026-03-29T00:00:00Z", ["03-29T00:30", "03-29T01:30", "03-29T02:30"]),
        (BERLIN, "30 * * * *", "2026-10-25T00:00:00Z", ["10-25T00:30", "10-25T01:30", "10-25T02:30"]),
        (BERLIN, "30 * * * *", "2027-03-28T00:00:00Z", ["03-28T00:30", "03-28T01:30", "03-28T02:30"]),
        (BERLIN, "30 * * * *", "2027-10-31T00:00:00Z", ["10-31T00:30", "10-31T01:30", "10-31T02:30"]),
        (NEW_YORK, "30 * * * *", "2026-03-08T06:00:00Z", ["03-08T06:30", "03-08T07:30", "03-08T08:30"]),
        (NEW_YORK, "30 * * * *", "2026-11-01T05:00:00Z", ["11-01T05:30", "11-01T06:30", "11-01T07:30"]),
        (NEW_YORK, "30 * * * *", "2027-03-14T06:00:00Z", ["03-14T06:30", "03-14T07:30", "03-14T08:30"]),
        (NEW_YORK, "30 * * * *", "2027-11-07T05:00:00Z", ["11-07T05:30", "11-07T06:30", "11-07T07:30"]),
        // 02:15 is skipped, 01:45 is shown twice.
        (LORD_HOWE, "15 * * * *", "2026-10-03T14:30:00Z", ["10-03T14:45", "10-03T16:15", "10-03T17:15"]),
        (LORD_HOWE, "45 * * * *", "2026-04-04T14:00:00Z", ["04-04T14:45", "04-04T15:15", "04-04T16:15"]),
    ] {
        fires(expression, zone, after, &expected);
    }
}

#[test]
fn fields_have_names_ranges_steps_and_lists() {
    fires("0 9 * * sat-sun", "UTC", "2026-11-27T12:00:00Z", &["11-28T09:00", "11-29T09:00", "12-05T09:00"]);
    fires("0 9 * * SUN,7,0", "UTC", "2026-11-27T12:00:00Z", &["11-29T09:00", "12-06T09:00"]);
    fires("10-30/10,55 4 1 Jun-jul *", "UTC", "2026-06-01T04:10:00Z", &["06-01T04:20", "06-01T04:30"]);
    fires("10-30/10,55 4 1 Jun-jul *", "UTC", "2026-06-01T04:30:00Z", &["06-01T04:55", "07-01T04:10"]);
    fires("0 0 12 * * *", "UTC", "2026-11-27T12:00:00Z", &["11-28T12:00"]);
    let seconds = ["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2027-01-01T00:00:00Z"];
    fires("*/20 0 0 1 1 *", "UTC", "2026-01-01T00:00:00.5Z", &seconds);
}

#[test]
fn a_day_matches_one_of_two_restricted_fields_or_both_beside_a_star() {
    fires("0 0 13 * fri", "UTC", "2026-12-05T00:00:00Z", &["12-11T00:00", "12-13T00:00", "12-18T00:00"]);
    fires("0 0 */2 * mon", "UTC", "2026-11-01T00:00:00Z", &["11-09T00:00", "11-23T00:00"]);
    fires("0 0 31 2 mon", "UTC", "2026-11-01T00:00:00Z", &["2027-02-01T00:00:00Z"]);
}

#[test]
fn leap_days_are_found_and_days_that_never_come_are_refused() {
    fires("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    fires("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z"]);
    for never in ["0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *"] {
        let error = Timing::cron(never, "UTC").expect_err("never fires").to_string();
        assert!(error.contains(never) && error.contains("never fires"), "{error}");
    }
}

#[test]
fn an_error_names_the_field_and_what_is_allowed() {
    let long = "1,".repeat(200);
    for (expression, part) in [
        ("61 * * * *", "minute `61`: use 0 to 59"),
        ("61 * * * * *", "second `61`: use 0 to 59"),
        ("* 24 * * *", "hour `24`: use 0 to 23"),
        ("* * 0 * *", "day of the month `0`: use 1 to 31"),
        ("* * * foo *", "month `foo`: use 1 to 12 or jan to dec"),
        ("* * * * 8", "day of the week `8`: use 0 to 7 or sun to sat"),
        ("5/10 * * * *", "minute `5/10`: a step needs"),
        ("*/0 * * * *", "minute step `0`: use a number from 1 to 59"),
        ("30-10 * * * *", "minute `30-10`: the range runs backwards"),
        ("1,,2 * * * *", "minute ``"),
        ("-1 * * * *", "minute ``"),
        ("+1 * * * *", "minute `+1`"),
        ("1 - * * *", "hour ``"),
        ("* * * *", "4 fields; use five"),
        ("", "0 fields"),
        ("@daily", "1 fields"),
        (long.as_str(), "400 bytes, at most 256"),
    ] {
        let error = Timing::cron(expression, "UTC").expect_err(expression).to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = Timing::cron("* * * * *", "Europe/Bern").expect_err("no such zone").to_string();
    assert!(error.contains("`Europe/Bern`") && error.contains("Europe/Berlin"), "{error}");
}

#[test]
fn intervals_fire_at_their_multiples() {
    let timing = Timing::every(Duration::from_mins(10)).expect("an interval");
    let found: Vec<_> = timing.upcoming(at("2026-11-29T10:09:59.999Z")).take(2).collect();
    assert_eq!(found, [at("2026-11-29T10:10:00Z"), at("2026-11-29T10:20:00Z")]);
    for wrong in [Duration::ZERO, Duration::from_millis(1500), Duration::from_hours(367 * 24)] {
        assert!(matches!(Timing::every(wrong), Err(ScheduleError::Interval(_))), "{wrong:?}");
    }
}

#[test]
fn a_timing_reads_back_from_its_text() {
    for (timing, text) in [
        (Timing::cron("0 3 * * *", BERLIN), r#"{"cron":"0 3 * * *","zone":"Europe/Berlin"}"#),
        (Timing::every(Duration::from_secs(90)), r#"{"every_seconds":90}"#),
    ] {
        let timing = timing.expect("a timing");
        assert_eq!(serde_json::to_string(&timing).expect("writes"), text);
        assert_eq!(serde_json::from_str::<Timing>(text).expect("reads"), timing);
    }
    assert!(serde_json::from_str::<Timing>(r#"{"cron":"0 3 * * *","zone":"Mars/Utopia"}"#).is_err());
}

#[test]
fn a_run_id_is_a_function_of_name_and_fire_time() {
    let sweep =
        |name| Schedule::new(name, &Sweep, Timing::every(Duration::from_mins(1)).expect("an interval"));
    let (one, other) = (sweep("one").expect("a schedule"), sweep("other").expect("a schedule"));
    let (noon, later) = (at("2026-11-29T12:00:00Z"), at("2026-11-29T12:01:00Z"));
    assert_eq!(one.run_id(noon), sweep("one").expect("a schedule").run_id(noon));
    assert_ne!(one.run_id(noon), one.run_id(later));
    assert_eq!(fire_time(one.run_id(noon)), Some(noon));
    assert_ne!(one.run_id(noon), other.run_id(noon));
    let envelope = one.envelope(one.run_id(noon), later);
    assert_eq!((envelope.kind.as_str(), envelope.created_at, envelope.run_at), ("sweep", later, None));
    assert!(matches!(sweep("No Name"), Err(ScheduleError::Name(_))));
    assert!(matches!(one.missed(Missed::All(0)), Err(ScheduleError::MissedRuns(0))));
    assert!(other.missed(Missed::All(super::RUNS_MAX)).is_ok());
}
