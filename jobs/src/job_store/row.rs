//! Rows of scheduled and dead jobs and of bulk operations, alike in both databases but for the type of the id, and of
//! schedules, limits and fair queues.

use std::fmt::Display;

use base::Timestamp;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{
    DeadJob, DeadMessage, FairQueue, LimitInUse, OperationRow, OperationState, QueueSize, SLOTS_MAX,
    ScheduleRow, ScheduledJob,
};
use crate::{
    engine::{DeadInfo, DeadReason},
    envelope::{Envelope, JobId},
    id::OperationId,
};

/// Columns read by [`scheduled`], and the id.
macro_rules! columns {
    () => {
        "id, due_at, envelope, crashes, last_error, first_failed_at, claim, tag, order_position"
    };
}
pub(super) use columns;

/// Columns read by [`dead`], and the id.
macro_rules! dead_columns {
    () => {
        "id, queue, reason, died_at, first_failed_at, crashes, last_error, envelope, claim"
    };
}
pub(super) use dead_columns;

/// Columns read by [`schedule`].
macro_rules! schedule_columns {
    () => {
        "name, timing, definition, paused, orphaned, next_fire_at, last_fire_at, last_job"
    };
}
pub(super) use schedule_columns;

/// Columns read by [`operation`], and the id.
macro_rules! operation_columns {
    () => {
        "id, state, created_at, content, version"
    };
}
pub(super) use operation_columns;

/// Due time of a row that cannot be read: never. It stays for an operator.
pub(super) const SET_ASIDE: i64 = i64::MAX;

/// Job of a row; an error for a corrupt row.
pub(super) fn scheduled<'r, R: Row>(row: &'r R) -> serde_json::Result<ScheduledJob>
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let envelope: Envelope = serde_json::from_str(&row.get::<String, _>("envelope"))?;
    Ok(ScheduledJob {
        envelope,
        due_at: time(row.get("due_at")),
        fair: row.get::<Option<i64>, _>("tag").is_some(),
        behind: row.get::<Option<i64>, _>("order_position").is_some(),
        crashes: u32::try_from(row.get::<i64, _>("crashes")).unwrap_or(0),
        last_error: row.get("last_error"),
        first_failed_at: row.get::<Option<i64>, _>("first_failed_at").map(time),
        claim: row.get("claim"),
    })
}

/// Jobs of claimed rows, by due time, and ids of corrupt ones; see [`readable`].
pub(super) fn claimed<'r, R: Row, I: Display>(
    rows: &'r [R],
    id: impl Fn(&R) -> I,
) -> (Vec<ScheduledJob>, Vec<I>)
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let (mut jobs, corrupt) = readable(rows, id);
    jobs.sort_by_key(|job| (job.due_at, job.envelope.id));
    (jobs, corrupt)
}

/// Jobs of claimed rows, in the order of these, and ids of corrupt ones, which are logged and have to be set aside: due
/// again, they would take the place of others.
pub(super) fn readable<'r, R: Row, I: Display>(
    rows: &'r [R],
    id: impl Fn(&R) -> I,
) -> (Vec<ScheduledJob>, Vec<I>)
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let (mut jobs, mut corrupt) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match scheduled(row) {
            Ok(job) => jobs.push(job),
            Err(error) => {
                let id = id(row);
                tracing::error!(job.id = %id, %error, "scheduled job unreadable");
                corrupt.push(id);
            }
        }
    }
    (jobs, corrupt)
}

/// Dead job of a row, without its message; a corrupt envelope is shown as it is stored.
pub(super) fn dead<'r, R: Row>(row: &'r R, id: JobId) -> DeadJob
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let (stored, reason): (String, String) = (row.get("envelope"), row.get("reason"));
    let envelope = serde_json::from_str(&stored)
        .unwrap_or_else(|_| Envelope::undecodable(id, row.get("queue"), &stored));
    DeadJob {
        envelope,
        crashes: u32::try_from(row.get::<i64, _>("crashes")).unwrap_or(0),
        last_error: row.get("last_error"),
        info: DeadInfo {
            reason: DeadReason::parse(&reason).unwrap_or(DeadReason::Undecodable),
            first_failed_at: time(row.get("first_failed_at")),
            died_at: time(row.get("died_at")),
        },
        message: None,
        claim: row.get("claim"),
    }
}

/// [`dead`] with the message, from the columns `properties` and `body`.
pub(super) fn dead_whole<'r, R: Row>(row: &'r R, id: JobId) -> DeadJob
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    let (properties, body): (Option<String>, Option<Vec<u8>>) = (row.get("properties"), row.get("body"));
    let message = properties.zip(body).map(|(properties, body)| DeadMessage { properties, body });
    DeadJob { message, ..dead(row, id) }
}

/// Schedule of a row.
pub(super) fn schedule<'r, R: Row>(row: &'r R) -> ScheduleRow
where
    &'static str: ColumnIndex<R>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let at = |column: &'static str| row.get::<Option<i64>, _>(column).map(time);
    ScheduleRow {
        name: row.get("name"),
        timing: row.get("timing"),
        definition: row.get("definition"),
        paused: row.get("paused"),
        orphaned: row.get("orphaned"),
        next_fire_at: at("next_fire_at"),
        last_fire_at: at("last_fire_at"),
        last_job: row.get::<Option<String>, _>("last_job").and_then(|id| id.parse().ok()),
    }
}

/// Limit of a statement that counts up to `most`.
pub(super) fn counted(most: u64) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// Size of a queue; the empty name stands for all processes.
pub(super) fn size(queue: String, worker: String, slots: i64) -> QueueSize {
    QueueSize {
        queue,
        worker: Some(worker).filter(|worker| !worker.is_empty()),
        slots: u32::try_from(slots).unwrap_or(SLOTS_MAX).clamp(1, SLOTS_MAX),
    }
}

/// Bulk operation of a row; `None` for a state that this release does not know.
pub(super) fn operation<'r, R: Row>(row: &'r R, id: OperationId) -> Option<OperationRow>
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    Some(OperationRow {
        id,
        state: OperationState::parse(&row.get::<String, _>("state"))?,
        created_at: time(row.get("created_at")),
        content: row.get("content"),
        version: row.get("version"),
    })
}

/// A key in use, of a row with these columns.
pub(super) fn in_use<'r, R: Row>(row: &'r R) -> LimitInUse
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let number = |column: &'static str| u64::try_from(row.get::<i64, _>(column)).unwrap_or(0);
    LimitInUse {
        limit: row.get("limit_name"),
        key: row.get("limit_key"),
        leased: number("leased"),
        holders: number("holders"),
        starts: number("starts"),
        parked: number("parked"),
        oldest_parked_at: row.get::<Option<i64>, _>("oldest_parked_at").map(time),
    }
}

/// A fair queue, of a row with these columns.
pub(super) fn fair_queue<'r, R: Row>(row: &'r R) -> FairQueue
where
    &'static str: ColumnIndex<R>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    FairQueue { name: row.get("name"), waits: [row.get("critical"), row.get("usual"), row.get("bulk")] }
}

pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
