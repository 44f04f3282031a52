//! Decoding of job rows, and their selection.
//!
//! Guarantees: one corrupt row never makes a whole read fail; it is an error with the reason, or shown by [`inspected`]
//! as a substitute envelope with the raw payload.

use base::Timestamp;
use serde_json::value::RawValue;
use sqlx::{Decode, QueryBuilder, Row, Sqlite, Type, sqlite::SqliteRow};

use crate::{
    engine::{DeadInfo, DeadReason, InspectedJob, JobState},
    envelope::{Envelope, JobId},
    job::Priority,
    unique::Unique,
};

/// Columns read by [`envelope`].
macro_rules! envelope_columns {
    () => {
        "sequence, id, kind, version, queue, priority, attempt, max_attempts, created_at, run_at, trace, \
         unique_key, unique_states, unique_period, concurrency_key, fair_key, order_key, subject, payload, crashes"
    };
}
pub(super) use envelope_columns;

/// Decodes a row; the error names the column.
pub(super) fn envelope(row: &SqliteRow) -> Result<Envelope, String> {
    let priority: usize = number(row, "priority")?;
    let priority = Priority::ALL.get(priority).copied();
    let unique_key: Option<String> = get(row, "unique_key")?;
    let unique = if unique_key.is_some() { unique(row)? } else { Unique::default() };
    Ok(Envelope {
        id: parse(get(row, "id")?, "id")?,
        kind: get(row, "kind")?,
        version: number(row, "version")?,
        queue: get(row, "queue")?,
        priority: priority.ok_or_else(|| unreadable("priority", "no such priority"))?,
        attempt: number(row, "attempt")?,
        max_attempts: number(row, "max_attempts")?,
        created_at: time(row, "created_at")?.ok_or_else(|| unreadable("created_at", "missing"))?,
        run_at: time(row, "run_at")?,
        trace: get::<Option<&str>>(row, "trace")?.map(|trace| parse(trace, "trace")).transpose()?,
        unique_key,
        unique,
        concurrency_key: get(row, "concurrency_key")?,
        fair_key: get(row, "fair_key")?,
        order_key: get(row, "order_key")?,
        subject: get(row, "subject")?,
        payload: RawValue::from_string(get(row, "payload")?)
            .map_err(|error| unreadable("payload", format!("not JSON: {error}")))?,
    })
}

/// A row as `list` and `find` return it. Also reads `state`, `last_error`, `dead_reason`, `first_failed_at`, `died_at`,
/// and of a row behind another one of its order key its own earliest start, `order_at`, and `behind`.
pub(super) fn inspected(row: &SqliteRow) -> InspectedJob {
    let state = JobState::parse(&lossy(row, "state")).unwrap_or(JobState::Dead);
    let died_at = time(row, "died_at").ok().flatten();
    let mut envelope = envelope(row).unwrap_or_else(|_| substitute(row));
    envelope.run_at = envelope.run_at.or(time(row, "order_at").ok().flatten());
    InspectedJob {
        envelope,
        state,
        crashes: number(row, "crashes").unwrap_or(0),
        last_error: get(row, "last_error").ok().flatten(),
        behind: get::<Option<&str>>(row, "behind").ok().flatten().map(id_of),
        dead: (state == JobState::Dead).then(|| DeadInfo {
            reason: DeadReason::parse(&lossy(row, "dead_reason")).unwrap_or(DeadReason::Undecodable),
            first_failed_at: time(row, "first_failed_at").ok().flatten().or(died_at).unwrap_or_default(),
            died_at: died_at.unwrap_or_default(),
        }),
    }
}

/// The id of a row; for a corrupt id, one derived from its text.
pub(super) fn id_of(text: &str) -> JobId {
    text.parse().unwrap_or_else(|_| JobId::derived(base::ids::Uuid::nil(), text))
}

/// A text column, invalid UTF-8 replaced.
pub(super) fn lossy(row: &SqliteRow, column: &'static str) -> String {
    String::from_utf8_lossy(row.try_get::<&[u8], _>(column).unwrap_or_default()).into_owned()
}

/// Adds a condition for each column with a wanted value.
pub(super) fn only(select: &mut QueryBuilder<Sqlite>, wanted: &[(&str, Option<&str>)]) {
    for (column, value) in wanted {
        if let Some(value) = value {
            select.push(" AND ").push(column).push(" = ").push_bind(*value);
        }
    }
}

fn unique(row: &SqliteRow) -> Result<Unique, String> {
    Ok(Unique::stored(get(row, "unique_states")?, get(row, "unique_period")?))
}

fn substitute(row: &SqliteRow) -> Envelope {
    Envelope {
        attempt: number(row, "attempt").unwrap_or(0),
        max_attempts: number(row, "max_attempts").unwrap_or(0),
        created_at: time(row, "created_at").ok().flatten().unwrap_or_default(),
        ..Envelope::undecodable(id_of(&lossy(row, "id")), lossy(row, "queue"), &lossy(row, "payload"))
    }
}

fn number<T: TryFrom<i64>>(row: &SqliteRow, column: &'static str) -> Result<T, String> {
    let value: i64 = get(row, column)?;
    T::try_from(value).map_err(|_| unreadable(column, format!("{value} is out of range")))
}

fn time(row: &SqliteRow, column: &'static str) -> Result<Option<Timestamp>, String> {
    let millis: Option<i64> = get(row, column)?;
    millis.map(|ms| Timestamp::from_millisecond(ms).map_err(|error| unreadable(column, error))).transpose()
}

/// A column; the error names it.
fn get<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(
    row: &'r SqliteRow,
    column: &'static str,
) -> Result<T, String> {
    row.try_get(column).map_err(|error| unreadable(column, error))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
    column: &'static str,
) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| unreadable(column, error))
}

fn unreadable(column: &'static str, why: impl std::fmt::Display) -> String {
    format!("{column}: {why}")
}
