//! Errors inside a transaction and their mapping to [`EngineError`], for all SQLite files of this crate.

use base::{
    ErrorClass,
    sqlite::{SqliteError, WriteFailed},
};

use crate::engine::EngineError;

pub(super) const ENGINE: &str = "sqlite";

/// Error inside a unit of work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqliteFault {
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    #[error("a stored job cannot be encoded")]
    Json(#[from] serde_json::Error),
    /// Rejected by the unit of work itself; the transaction is rolled back.
    #[error(transparent)]
    Refused(#[from] EngineError),
}

impl SqliteFault {
    /// The error of a file that is named `engine` in it.
    pub(crate) fn of(self, engine: &'static str) -> EngineError {
        let class = match &self {
            Self::Sqlite(
                SqliteError::Write(WriteFailed::Closed) | SqliteError::Sql(sqlx::Error::PoolClosed),
            ) => {
                return EngineError::Closed;
            }
            Self::Sqlite(error) => error.error_class(),
            Self::Json(_) => ErrorClass::Corrupt,
            Self::Refused(_) => ErrorClass::Defect,
        };
        match self {
            Self::Refused(error) => error,
            fault => EngineError::new(class, engine, fault),
        }
    }
}

impl From<sqlx::Error> for SqliteFault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<WriteFailed> for SqliteFault {
    fn from(error: WriteFailed) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<SqliteFault> for EngineError {
    fn from(fault: SqliteFault) -> Self {
        fault.of(ENGINE)
    }
}

pub(super) fn unavailable(detail: &str) -> EngineError {
    EngineError::new(ErrorClass::Unavailable, ENGINE, detail)
}
