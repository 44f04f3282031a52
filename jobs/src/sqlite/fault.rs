//! Errors inside a transaction and their mapping to [`EngineError`].

use base::sqlite::WriteFailed;

use crate::{
    engine::EngineError,
    error::{Cause, describe},
};

pub(super) const ENGINE: &str = "sqlite";
/// Longest error text stored, in characters.
const ERROR_CHARS_MAX: usize = 2000;

/// Error inside a unit of work.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueFault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Write(#[from] WriteFailed),
    /// Rejected by the unit of work itself; the transaction is rolled back.
    #[error(transparent)]
    Refused(#[from] EngineError),
}

impl From<QueueFault> for EngineError {
    fn from(fault: QueueFault) -> Self {
        match fault {
            QueueFault::Refused(error) => error,
            QueueFault::Write(WriteFailed::Closed) | QueueFault::Sql(sqlx::Error::PoolClosed) => Self::Closed,
            QueueFault::Write(error) => unavailable(describe(&error), Some(error.into())),
            QueueFault::Sql(error) => unavailable(describe(&error), Some(error.into())),
        }
    }
}

pub(super) fn unavailable(detail: String, source: Option<Cause>) -> EngineError {
    EngineError::Unavailable { engine: ENGINE, detail, source }
}

/// Truncates an error text to [`ERROR_CHARS_MAX`].
pub(super) fn bounded(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}
