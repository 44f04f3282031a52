//! Errors of statements and units of work on SQLite files, and their classes.

use std::sync::Arc;

use crate::ErrorClass;

/// The error of a read, or of a unit of work.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// A statement failed.
    #[error(transparent)]
    Sql(sqlx::Error),
    /// The unit was not applied, or it is unknown whether it was.
    #[error(transparent)]
    Write(#[from] WriteFailed),
    /// Stored data does not read back: which, and why.
    #[error("{0}")]
    Corrupt(String),
}

impl SqliteError {
    /// What follows from it.
    pub fn error_class(&self) -> ErrorClass {
        match self {
            Self::Sql(error) => classify(error),
            Self::Write(error) => error.error_class(),
            Self::Corrupt(_) => ErrorClass::Corrupt,
        }
    }
}

impl From<sqlx::Error> for SqliteError {
    fn from(error: sqlx::Error) -> Self {
        if classify(&error) == ErrorClass::Corrupt {
            Self::Corrupt(error.to_string())
        } else {
            Self::Sql(error)
        }
    }
}

/// An error for a unit of work that was not applied, or of which it is unknown whether it was.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteFailed {
    /// SQLite rejected BEGIN or COMMIT.
    #[error("the transaction was not committed")]
    Commit(#[source] Arc<sqlx::Error>),
    /// The writer has stopped: the database is closed.
    #[error("the database is closed")]
    Closed,
    /// The unit of work panicked; it was rolled back.
    #[error("the unit of work panicked and was rolled back")]
    Panicked,
}

impl WriteFailed {
    /// What follows from it.
    pub fn error_class(&self) -> ErrorClass {
        match self {
            Self::Commit(error) => classify(error),
            Self::Closed => ErrorClass::Unavailable,
            Self::Panicked => ErrorClass::Defect,
        }
    }
}

/// The class of an error, by SQLite's primary result code (sqlite.org/rescode.html).
pub fn classify(error: &sqlx::Error) -> ErrorClass {
    use sqlx::Error as E;
    let code = match error {
        E::Database(database) => database.code().and_then(|code| code.parse::<i32>().ok()),
        E::Io(_) | E::PoolClosed | E::WorkerCrashed => return ErrorClass::Unavailable,
        E::PoolTimedOut => return ErrorClass::Busy,
        E::ColumnDecode { .. } | E::Decode(_) => return ErrorClass::Corrupt,
        _ => None,
    };
    match code.map(|extended| extended & 0xff) {
        // BUSY, LOCKED, INTERRUPT, SCHEMA.
        Some(5 | 6 | 9 | 17) => ErrorClass::Busy,
        // NOMEM, IOERR, FULL, CANTOPEN, PROTOCOL.
        Some(7 | 10 | 13 | 14 | 15) => ErrorClass::Unavailable,
        // CORRUPT, NOTADB.
        Some(11 | 26) => ErrorClass::Corrupt,
        _ => ErrorClass::Defect,
    }
}
