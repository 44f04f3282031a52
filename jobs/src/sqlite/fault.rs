//! Errors inside a transaction and their mapping to [`EngineError`], for all SQLite files of this crate.

use base::{
    ErrorClass,
    sqlite::{WriteFailed, classify},
};

use crate::engine::EngineError;

pub(super) const ENGINE: &str = "sqlite";

/// Error inside a unit of work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqliteFault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Write(#[from] WriteFailed),
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
            Self::Write(WriteFailed::Closed) | Self::Sql(sqlx::Error::PoolClosed) => {
                return EngineError::Closed;
            }
            Self::Write(error) => error.error_class(),
            Self::Sql(error) => classify(error),
            Self::Json(_) => ErrorClass::Corrupt,
            Self::Refused(_) => ErrorClass::Defect,
        };
        match self {
            Self::Refused(error) => error,
            fault => EngineError::new(class, engine, fault),
        }
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
