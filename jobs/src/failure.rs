//! Failure of a run: the error that registry, layers and acknowledgement pass on.

use std::time::Duration;

use crate::error::JobError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", .0.describe())]
    Job(JobError),
    #[error("panicked: {0}")]
    Panicked(String),
    /// Another process may run jobs under the same limit already.
    #[error("lost the lease of its limit")]
    LimitLost,
    /// The timeout of the kind has passed.
    #[error("timed out after {0:?}")]
    TimedOut(Duration),
    #[error("no job of kind `{0}` is registered in this worker")]
    UnknownKind(String),
    /// The payload is of a later version than this worker knows.
    #[error("{0}")]
    NewerVersion(String),
    #[error("{0}")]
    Undecodable(String),
}
