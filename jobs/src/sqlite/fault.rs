//! Errors inside a transaction and their mapping to [`EngineError`].

use base::sqlite::{WriteFailed, classify};

use crate::engine::EngineError;

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
            QueueFault::Write(error) => Self::new(error.error_class(), ENGINE, error),
            QueueFault::Sql(error) => Self::new(classify(&error), ENGINE, error),
        }
    }
}

pub(super) fn unavailable(detail: &str) -> EngineError {
    EngineError::Unavailable { engine: ENGINE, detail: detail.to_owned(), source: None }
}

/// Truncates an error text to [`ERROR_CHARS_MAX`].
pub(super) fn bounded(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}
