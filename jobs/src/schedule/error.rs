//! Errors of schedules.

use std::time::Duration;

use crate::{engine::EngineError, envelope::JobId};

/// The error for a schedule that cannot be used; nothing is stored.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    #[error("schedule name `{0}`: use [a-z0-9_]{{1,60}}")]
    Name(String),
    #[error("cron expression `{expression}`: {why}")]
    Cron { expression: String, why: String },
    #[error("there is no time zone `{0}`: use a name of the IANA database, such as Europe/Berlin or UTC")]
    Zone(String),
    #[error("an interval of {0:?}: use whole seconds, from one second to 366 days")]
    Interval(Duration),
    #[error("at most {0} missed runs: use a number from 1 to 100")]
    MissedRuns(u32),
    #[error("there are two schedules `{0}`")]
    Duplicate(String),
    #[error("there are more than 1000 schedules")]
    TooMany,
    #[error("schedule `{name}` cannot be read")]
    Corrupt { name: String, source: serde_json::Error },
    #[error("the job of the schedule cannot be published")]
    Job(#[source] EngineError),
    #[error("there is no schedule `{name}`; {known}")]
    Unknown { name: String, known: String },
    #[error("schedule `{name}` starts no second run: {job} holds its unique key")]
    Overlaps { name: String, job: JobId },
    #[error(transparent)]
    Store(#[from] EngineError),
}
