//! Failure of a run: the error that registry, layers and acknowledgement pass on.

use std::time::Duration;

use crate::error::JobError;

/// A failed run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The job returned an error.
    #[error("{}", .0.describe())]
    Job(JobError),
    /// The job panicked with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The run took longer than the timeout of its kind, which is given.
    #[error("timed out after {0:?}")]
    TimedOut(Duration),
    /// This kind is not registered in this worker.
    #[error("no job of kind `{0}` is registered in this worker")]
    UnknownKind(String),
    /// The payload cannot be decoded, for this reason.
    #[error("{0}")]
    Undecodable(String),
}
