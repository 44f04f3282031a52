//! Rows of scheduled jobs.

use base::Timestamp;
use sqlx::{Row, sqlite::SqliteRow};

use crate::{Envelope, job_store::ScheduledJob};

/// Columns read by [`scheduled`].
pub(super) const COLUMNS: &str = "id, due_at, envelope, crashes, last_error, first_failed_at, claim";

/// Job of a row; `None` for a corrupt row, which is logged and not changed.
pub(super) fn scheduled(row: &SqliteRow) -> Option<ScheduledJob> {
    let id: String = row.get("id");
    let envelope: Envelope = match serde_json::from_str(row.get("envelope")) {
        Ok(envelope) => envelope,
        Err(error) => {
            tracing::error!(job.id = id, %error, "scheduled job unreadable");
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
