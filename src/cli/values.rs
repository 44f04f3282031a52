//! Parsers of argument values; the errors say what is expected.

use std::time::Duration;

use jobs::{Timestamp, job_store::SLOTS_MAX};
use serde::de::DeserializeOwned;
use store::checkout::RESERVE_MINUTES_MAX;
use workers::queues::QUEUES;

/// Minutes for which carts reserve; `None` is `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReserveMinutes(pub(crate) Option<u32>);

/// Parses the serde name of a plain enum's value; the error lists them all.
pub(super) fn named<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(text.into())
}

/// Parses a queue with its concurrency, `NAME=N`.
pub(super) fn queue(text: &str) -> Result<(String, usize), String> {
    let parts = text.split_once('=').and_then(|(name, number)| Some((name, number.parse().ok()?)));
    match parts {
        Some((name, _)) if QUEUES.iter().all(|(known, _)| *known != name) => {
            Err(format!("no queue {name}; there are: {}", QUEUES.map(|(known, _)| known).join(", ")))
        }
        Some((name, number)) if (1..=1024).contains(&number) => Ok((name.to_owned(), number)),
        _ => Err("expected queue=number with a number from 1 to 1024, such as payments=16".to_owned()),
    }
}

/// Parses a queue with its number of slots, `NAME=N`, or `NAME=default`.
pub(super) fn size(text: &str) -> Result<(String, Option<u32>), String> {
    let (queue, slots) = text.split_once('=').unwrap_or((text, ""));
    let slots = match (slots, slots.parse::<u32>()) {
        ("default", _) => None,
        (_, Ok(0)) => return Err(format!("no job at a time is a pause: `control pause {queue}`")),
        (_, Ok(slots)) if slots <= SLOTS_MAX => Some(slots),
        _ => {
            return Err(format!(
                "expected queue=number with a number from 1 to {SLOTS_MAX}, or queue=default"
            ));
        }
    };
    Ok((queue.to_owned(), slots))
}

/// Parses a number with a unit: `s`, `m`, `h` or `d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with a unit, such as 90s, 30m, 2h or 3d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Parses a time, or a date, which is its beginning in UTC.
pub(super) fn date(text: &str) -> Result<Timestamp, String> {
    let time = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    time.parse()
        .map_err(|_| "expected a date or a time, such as 2026-11-01 or 2026-11-01T12:00:00Z".to_owned())
}

/// Parses the minutes for which carts reserve, or `off`.
pub(super) fn reserve_minutes(text: &str) -> Result<ReserveMinutes, String> {
    match (text, text.parse::<u32>()) {
        ("off", _) => Ok(ReserveMinutes(None)),
        (_, Ok(minutes)) if (1..=RESERVE_MINUTES_MAX).contains(&minutes) => Ok(ReserveMinutes(Some(minutes))),
        _ => Err(format!("expected a number of minutes from 1 to {RESERVE_MINUTES_MAX}, or off")),
    }
}

/// Parses a note for the record.
pub(super) fn note(text: &str) -> Result<String, String> {
    let text = text.trim();
    if (1..=500).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 500 characters".to_owned())
    }
}

/// Parses a name or label of one line.
pub(super) fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if (1..=100).contains(&text.chars().count()) && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 100 characters on one line".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues() {
        assert_eq!(queue("payments=12"), Ok(("payments".to_owned(), 12)));
        assert!(
            queue("paymens=12").is_err_and(|error| error.contains("payments")),
            "nothing would run payments"
        );
        assert!(queue("payments").is_err() && queue("payments=0").is_err() && queue("payments=x").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(size("payments=12"), Ok(("payments".to_owned(), Some(12))));
        assert_eq!(size("payments=default"), Ok(("payments".to_owned(), None)));
        assert!(size("payments=0").is_err_and(|error| error.contains("control pause payments")));
        for wrong in ["payments", "payments=", "payments=1001", "payments=-1", "payments=x"] {
            assert!(size(wrong).is_err_and(|error| error.contains("from 1 to 1000")), "{wrong}");
        }
    }

    #[test]
    fn minutes_of_reservations() {
        assert_eq!(reserve_minutes("15"), Ok(ReserveMinutes(Some(15))));
        assert_eq!(reserve_minutes("off"), Ok(ReserveMinutes(None)));
        for wrong in ["0", "61", "-1", "1.5", "", "on"] {
            assert!(reserve_minutes(wrong).is_err_and(|error| error.contains("1 to 60")), "{wrong}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(name(" Tea & Co "), Ok("Tea & Co".to_owned()));
        assert!(name(" ").is_err() && name("a\nb").is_err() && name(&"a".repeat(101)).is_err());
    }

    #[test]
    fn dates() {
        assert_eq!(date("2026-11-01"), date("2026-11-01T01:00:00+01:00"));
        assert!(date("2026-11-01").is_ok_and(|at| at.as_second() == 1_793_491_200));
        assert!(date("").is_err() && date("1.11.2026").is_err() && date("2026-11-31").is_err());
    }

    #[test]
    fn spans() {
        assert_eq!(span("2h"), Ok(Duration::from_hours(2)));
        assert!(span("2").is_err() && span("").is_err() && span("h").is_err() && span("1é").is_err());
    }
}
