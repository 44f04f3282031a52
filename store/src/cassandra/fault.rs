//! Why a statement gave no answer, and what that means for the one who asked.

use std::time::Duration;

use scylla::errors::{
    DbError, DeserializationError, ExecutionError, IntoRowsResultError, RequestAttemptError, RowsError,
};

use crate::error::StoreError;

/// How the store names itself in errors.
const STORE: &str = "payment";

/// Becomes a [`StoreError`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Execution(Box<ExecutionError>),
    #[error("no outcome within {} ms; last seen: {last}", limit.as_millis())]
    Overdue { limit: Duration, last: String },
    #[error("{0}")]
    Corrupt(String),
}

/// What a failed request leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retryability {
    /// A node or a majority did not answer in time, or its connection broke: asking again may well succeed now.
    Passing,
    /// Too few replicas, or no node at all: asking again at once only adds load.
    Lasting,
}

/// How to take a failed request.
pub(super) fn retryability(error: &ExecutionError) -> Retryability {
    match error {
        ExecutionError::RequestTimeout(_)
        | ExecutionError::LastAttemptError(
            RequestAttemptError::BrokenConnectionError(_)
            | RequestAttemptError::UnableToAllocStreamId
            | RequestAttemptError::DbError(
                DbError::WriteTimeout { .. }
                | DbError::ReadTimeout { .. }
                | DbError::WriteFailure { .. }
                | DbError::ReadFailure { .. }
                | DbError::Overloaded
                | DbError::IsBootstrapping,
                _,
            ),
        ) => Retryability::Passing,
        _ => Retryability::Lasting,
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        Self::Execution(Box::new(error))
    }
}

impl From<IntoRowsResultError> for Failure {
    fn from(error: IntoRowsResultError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<RowsError> for Failure {
    fn from(error: RowsError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<DeserializationError> for Failure {
    fn from(error: DeserializationError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Corrupt(detail) => Self::Corrupt { store: STORE, detail },
            lasting => Self::Unavailable { store: STORE, source: lasting.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use scylla::{errors::WriteType, frame::types::Consistency};

    use super::*;

    fn answered(error: DbError) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new()))
    }

    #[test]
    fn a_timeout_passes_and_too_few_replicas_last() {
        let timeout = answered(DbError::WriteTimeout {
            consistency: Consistency::LocalSerial,
            received: 1,
            required: 2,
            write_type: WriteType::Cas,
        });
        assert_eq!(retryability(&timeout), Retryability::Passing);
        let unavailable =
            answered(DbError::Unavailable { consistency: Consistency::LocalQuorum, required: 2, alive: 1 });
        assert_eq!(retryability(&unavailable), Retryability::Lasting);
        assert!(matches!(StoreError::from(Failure::from(unavailable)), StoreError::Unavailable { .. }));
        assert_eq!(retryability(&ExecutionError::EmptyPlan), Retryability::Lasting);
    }
}
