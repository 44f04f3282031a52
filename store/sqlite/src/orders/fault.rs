//! Errors of a unit of work.

use base::sqlite::{SqliteError, WriteFailed};
use serde::Serialize;
use store::{
    error::StoreError,
    rules::{Damage, STORE},
};

/// What a unit of work or a read gives inside of this crate; the contracts' methods have the result of the store.
pub(crate) type Result<T, E = SqliteFault> = std::result::Result<T, E>;

/// A unit of work or a read of the order store failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct SqliteFault(#[from] pub(super) SqliteError);

impl SqliteFault {
    pub(super) fn corrupt(detail: String) -> Self {
        Self(SqliteError::Corrupt(detail))
    }
}

impl From<sqlx::Error> for SqliteFault {
    fn from(error: sqlx::Error) -> Self {
        Self(error.into())
    }
}

impl From<WriteFailed> for SqliteFault {
    fn from(error: WriteFailed) -> Self {
        Self(error.into())
    }
}

impl From<Damage> for SqliteFault {
    fn from(damage: Damage) -> Self {
        Self::corrupt(damage.0)
    }
}

impl From<SqliteFault> for SqliteError {
    fn from(SqliteFault(error): SqliteFault) -> Self {
        error
    }
}

impl From<SqliteFault> for StoreError {
    fn from(SqliteFault(error): SqliteFault) -> Self {
        Self::new(error.error_class(), STORE, error)
    }
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, SqliteFault> {
    serde_json::to_string(value).map_err(|error| SqliteFault::corrupt(format!("does not serialise: {error}")))
}
