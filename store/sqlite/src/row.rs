//! Reading of values from rows without a panic.

use std::{fmt::Display, str::FromStr};

use base::{Timestamp, sqlite::SqliteError};
use serde::de::DeserializeOwned;
use sqlx::{Row, sqlite::SqliteRow};

/// A column that is there and of the type its query asks for.
pub(crate) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, SqliteError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    Ok(row.try_get(column)?)
}

/// A text column that parses as `T`.
pub(crate) fn parsed<T: FromStr<Err: Display>>(row: &SqliteRow, column: &str) -> Result<T, SqliteError> {
    parse(column, get::<&str>(row, column)?)
}

/// The same, or NULL.
pub(crate) fn parsed_if_any<T: FromStr<Err: Display>>(
    row: &SqliteRow,
    column: &str,
) -> Result<Option<T>, SqliteError> {
    get::<Option<&str>>(row, column)?.map(|text| parse(column, text)).transpose()
}

/// A text column that holds JSON of a `T`.
pub(crate) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, SqliteError> {
    serde_json::from_str(get(row, column)?).map_err(|error| damaged(column, error))
}

/// The same, or NULL.
pub(crate) fn json_if_any<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &str,
) -> Result<Option<T>, SqliteError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| serde_json::from_str(text).map_err(|error| damaged(column, error))).transpose()
}

/// A column of milliseconds since the epoch.
pub(crate) fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, SqliteError> {
    Timestamp::from_millisecond(get(row, column)?).map_err(|error| damaged(column, error))
}

/// The same, or NULL.
pub(crate) fn time_if_any(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, SqliteError> {
    let millis: Option<i64> = get(row, column)?;
    millis.map(|m| Timestamp::from_millisecond(m).map_err(|error| damaged(column, error))).transpose()
}

/// An INTEGER column in the range of `T`.
pub(crate) fn number<T: TryFrom<i64, Error: Display>>(
    row: &SqliteRow,
    column: &str,
) -> Result<T, SqliteError> {
    T::try_from(get::<i64>(row, column)?).map_err(|error| damaged(column, error))
}

fn parse<T: FromStr<Err: Display>>(column: &str, text: &str) -> Result<T, SqliteError> {
    text.parse().map_err(|error| damaged(column, error))
}

fn damaged(column: &str, error: impl Display) -> SqliteError {
    SqliteError::Corrupt(format!("column {column}: {error}"))
}
