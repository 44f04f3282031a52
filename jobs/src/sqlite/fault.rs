//! What can go wrong inside a transaction, and how it looks from outside.

use base::sqlite::{WriteFailed, classify};

use crate::engine::EngineError;

pub(super) const ENGINE: &str = "sqlite";
/// Characters kept of an error text.
const ERROR_CHARS_MAX: usize = 2000;

/// A failure within a unit of work.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueFault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Write(#[from] WriteFailed),
    /// Decided by the unit itself; it leaves no trace.
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

/// Cuts an error text to what a row may keep.
pub(super) fn bounded(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}
