//! Errors of statements, and their classes.

use std::time::Duration;

use base::ErrorClass;
use scylla::errors::{
    DbError, DeserializationError, ExecutionError, IntoRowsResultError, MaybeFirstRowError, PrepareError,
    RequestAttemptError, RowsError,
};
use store::error::StoreError;

pub(super) const STORE: &str = "payment";

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

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

/// The class of a failed request. [`ErrorClass::Busy`]: a node or a majority did not answer in time, or its connection
/// broke; a retry may well succeed now. [`ErrorClass::Unavailable`]: too few replicas or no node at all; a retry at
/// once only adds load.
pub(super) fn classify(error: &ExecutionError) -> ErrorClass {
    use ExecutionError as E;
    match error {
        E::RequestTimeout(_) | E::SchemaAgreementError(_) => ErrorClass::Busy,
        E::EmptyPlan
        | E::ConnectionPoolError(_)
        | E::MetadataError(_)
        | E::PrepareError(PrepareError::ConnectionPoolError(_)) => ErrorClass::Unavailable,
        E::PrepareError(PrepareError::AllAttemptsFailed { first_attempt: error })
        | E::LastAttemptError(error) => classify_attempt(error),
        _ => ErrorClass::Defect,
    }
}

fn classify_attempt(error: &RequestAttemptError) -> ErrorClass {
    use RequestAttemptError as A;
    match error {
        A::BrokenConnectionError(_)
        | A::UnableToAllocStreamId
        | A::DbError(
            DbError::WriteTimeout { .. }
            | DbError::ReadTimeout { .. }
            | DbError::WriteFailure { .. }
            | DbError::ReadFailure { .. }
            | DbError::Overloaded
            | DbError::IsBootstrapping
            | DbError::TruncateError,
            _,
        ) => ErrorClass::Busy,
        A::DbError(DbError::Unavailable { .. }, _) => ErrorClass::Unavailable,
        _ => ErrorClass::Defect,
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        Self::Execution(Box::new(error))
    }
}

/// Errors of reading a response.
macro_rules! corrupt {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Corrupt(error.to_string())
            }
        })+
    };
}
corrupt!(IntoRowsResultError, RowsError, MaybeFirstRowError, DeserializationError);

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Corrupt(detail) => Self::corrupt(STORE, detail),
            Failure::Overdue { .. } => Self::new(ErrorClass::Busy, STORE, failure),
            Failure::Execution(ref error) => Self::new(classify(error), STORE, failure),
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
    fn a_timeout_is_busy_too_few_replicas_unavailable_and_the_rest_a_defect() {
        let timeout = answered(DbError::WriteTimeout {
            consistency: Consistency::LocalSerial,
            received: 1,
            required: 2,
            write_type: WriteType::Cas,
        });
        assert_eq!(classify(&timeout), ErrorClass::Busy);
        let unavailable =
            answered(DbError::Unavailable { consistency: Consistency::LocalQuorum, required: 2, alive: 1 });
        assert_eq!(classify(&unavailable), ErrorClass::Unavailable);
        assert!(matches!(StoreError::from(Failure::from(unavailable)), StoreError::Unavailable { .. }));
        assert_eq!(classify(&ExecutionError::EmptyPlan), ErrorClass::Unavailable);
        for defect in [DbError::Invalid, DbError::SyntaxError, DbError::Unauthorized, DbError::ServerError] {
            assert_eq!(classify(&answered(defect.clone())), ErrorClass::Defect, "{defect:?}");
        }
    }
}
