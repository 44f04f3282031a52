//! Rows of scheduled jobs.

use base::{Timestamp, ids::Uuid, time::ceil_ms};
use sqlx::{Row, postgres::PgRow};

use crate::{
    Envelope, JobId,
    job_store::ScheduledJob,
    postgres::{PostgresFault, text, time},
};

/// Columns read by [`scheduled`].
macro_rules! columns {
    () => {
        "id, due_at, envelope, crashes, last_error, first_failed_at, claim"
    };
}
pub(super) use columns;

/// Jobs as column arrays, the parameters of one statement.
#[derive(Default)]
pub(super) struct NewRows {
    pub(super) id: Vec<Uuid>,
    pub(super) queue: Vec<String>,
    pub(super) kind: Vec<String>,
    pub(super) due_at: Vec<i64>,
    pub(super) envelope: Vec<String>,
    pub(super) crashes: Vec<i64>,
    pub(super) last_error: Vec<Option<String>>,
    pub(super) first_failed_at: Vec<Option<i64>>,
}

impl NewRows {
    pub(super) fn push(&mut self, job: &ScheduledJob) -> Result<(), PostgresFault> {
        self.id.push(job.envelope.id.0);
        self.due_at.push(ceil_ms(job.due_at));
        self.envelope.push(serde_json::to_string(&job.envelope)?);
        self.queue.push(text(&job.envelope.queue).into_owned());
        self.kind.push(text(&job.envelope.kind).into_owned());
        self.crashes.push(i64::from(job.crashes));
        self.last_error.push(job.last_error.as_deref().map(|error| text(error).into_owned()));
        self.first_failed_at.push(job.first_failed_at.map(Timestamp::as_millisecond));
        Ok(())
    }
}

/// Job of a row; `None` for a corrupt row, which is logged and not changed.
pub(super) fn scheduled(row: &PgRow) -> Option<ScheduledJob> {
    let envelope: Envelope = match serde_json::from_str(row.get("envelope")) {
        Ok(envelope) => envelope,
        Err(error) => {
            tracing::error!(job.id = %JobId(row.get("id")), %error, "scheduled job unreadable");
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
