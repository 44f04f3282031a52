//! Errors of a unit of work, and reading of values from rows without a panic.

use std::{fmt::Display, str::FromStr};

use base::{
    Timestamp,
    sqlite::{SqliteError, WriteFailed},
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};
use store::{
    error::StoreError,
    rules::{Damage, STORE},
};

/// A unit of work or a read of the order store failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct SqliteFault(#[from] pub(super) SqliteError);

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

impl From<SqliteFault> for StoreError {
    fn from(SqliteFault(error): SqliteFault) -> Self {
        Self::new(error.error_class(), STORE, error)
    }
}

/// A column that is there and of the type its query asks for.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, SqliteFault>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    Ok(row.try_get(column)?)
}

/// A text column that parses as `T`.
pub(super) fn parsed<T: FromStr<Err: Display>>(row: &SqliteRow, column: &str) -> Result<T, SqliteFault> {
    parse(column, get::<&str>(row, column)?)
}

/// The same, or NULL.
pub(super) fn parsed_if_any<T: FromStr<Err: Display>>(
    row: &SqliteRow,
    column: &str,
) -> Result<Option<T>, SqliteFault> {
    get::<Option<&str>>(row, column)?.map(|text| parse(column, text)).transpose()
}

/// A text column that holds JSON of a `T`.
pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, SqliteFault> {
    serde_json::from_str(get(row, column)?).map_err(|error| damaged(column, error))
}

/// The same, or NULL.
pub(super) fn json_if_any<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &str,
) -> Result<Option<T>, SqliteFault> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| serde_json::from_str(text).map_err(|error| damaged(column, error))).transpose()
}

/// A column of milliseconds since the epoch.
pub(super) fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, SqliteFault> {
    Timestamp::from_millisecond(get(row, column)?).map_err(|error| damaged(column, error))
}

/// The same, or NULL.
pub(super) fn time_if_any(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, SqliteFault> {
    let millis: Option<i64> = get(row, column)?;
    millis.map(|m| Timestamp::from_millisecond(m).map_err(|error| damaged(column, error))).transpose()
}

/// An INTEGER column in the range of `T`.
pub(super) fn number<T: TryFrom<i64, Error: Display>>(
    row: &SqliteRow,
    column: &str,
) -> Result<T, SqliteFault> {
    T::try_from(get::<i64>(row, column)?).map_err(|error| damaged(column, error))
}

/// JSON to store.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, SqliteFault> {
    serde_json::to_string(value).map_err(|error| SqliteFault::corrupt(format!("does not serialise: {error}")))
}

fn parse<T: FromStr<Err: Display>>(column: &str, text: &str) -> Result<T, SqliteFault> {
    text.parse().map_err(|error| damaged(column, error))
}

fn damaged(column: &str, error: impl Display) -> SqliteFault {
    Damage::column(column, error).into()
}
