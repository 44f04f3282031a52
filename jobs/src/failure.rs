//! Failure of a run: the error that registry, layers and acknowledgement pass on.

use std::{error::Error as StdError, fmt, time::Duration};

use crate::error::JobError;

/// A failed run.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The job returned an error.
    Job(JobError),
    /// The job panicked with this message.
    Panicked(String),
    /// The run took longer than the timeout of its kind, which is given.
    TimedOut(Duration),
    /// This kind is not registered in this worker.
    UnknownKind(String),
    /// The payload cannot be decoded, for this reason.
    Undecodable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(error) => f.write_str(&error.describe()),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::TimedOut(limit) => write!(f, "timed out after {limit:?}"),
            Self::UnknownKind(kind) => write!(f, "no job of kind `{kind}` is registered in this worker"),
            Self::Undecodable(why) => f.write_str(why),
        }
    }
}

impl StdError for Failure {}
