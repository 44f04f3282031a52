//! Rows of scheduled jobs, alike in both databases but for the type of the id.

use std::fmt::Display;

use base::Timestamp;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::ScheduledJob;
use crate::envelope::Envelope;

/// Columns read by [`scheduled`], and the id.
macro_rules! columns {
    () => {
        "id, due_at, envelope, crashes, last_error, first_failed_at, claim"
    };
}
pub(super) use columns;

/// Job of a row; `None` for a corrupt row, which is logged and not changed.
pub(super) fn scheduled<'r, R: Row>(row: &'r R, id: impl Display) -> Option<ScheduledJob>
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let envelope: Envelope = match serde_json::from_str(&row.get::<String, _>("envelope")) {
        Ok(envelope) => envelope,
        Err(error) => {
            tracing::error!(job.id = %id, %error, "scheduled job unreadable");
            return None;
        }
    };
    Some(ScheduledJob {
        envelope,
        due_at: time(row.get("due_at")),
        crashes: u32::try_from(row.get::<i64, _>("crashes")).unwrap_or(0),
        last_error: row.get("last_error"),
        first_failed_at: row.get::<Option<i64>, _>("first_failed_at").map(time),
        claim: row.get("claim"),
    })
}

pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
