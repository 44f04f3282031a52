//! What goes wrong inside a unit of work, and how values are read from rows without ever panicking.

use std::{fmt::Display, str::FromStr};

use base::{Timestamp, sqlite::WriteFailed};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, error::ErrorKind, sqlite::SqliteRow};

use crate::{
    engine::{Damage, STORE},
    error::StoreError,
};

/// A unit of work or a read failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Write(#[from] WriteFailed),
    #[error(transparent)]
    Sql(sqlx::Error),
    /// Stored data breaks a rule: of the schema or of the types.
    #[error("{0}")]
    Damaged(String),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Damaged(error.to_string()),
            // A constraint that fails here is a defect or damage; calling it "unavailable" would have it retried.
            sqlx::Error::Database(refused) if !matches!(refused.kind(), ErrorKind::Other) => {
                Self::Damaged(refused.message().to_owned())
            }
            _ => Self::Sql(error),
        }
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage.0)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Write(error) => Self::Unavailable { store: STORE, source: Box::new(error) },
            Fault::Sql(error) => Self::Unavailable { store: STORE, source: Box::new(error) },
            Fault::Damaged(detail) => Self::Damaged { store: STORE, detail },
        }
    }
}

/// A column that is there and of the type its query asks for.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, Fault>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    Ok(row.try_get(column)?)
}

/// A text column that parses as `T`.
pub(super) fn parsed<T: FromStr<Err: Display>>(row: &SqliteRow, column: &str) -> Result<T, Fault> {
    parse(column, get::<&str>(row, column)?)
}

/// The same, or NULL.
pub(super) fn parsed_if_any<T: FromStr<Err: Display>>(
    row: &SqliteRow,
    column: &str,
) -> Result<Option<T>, Fault> {
    get::<Option<&str>>(row, column)?.map(|text| parse(column, text)).transpose()
}

/// A text column that holds JSON of a `T`.
pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, Fault> {
    serde_json::from_str(get(row, column)?).map_err(|error| damaged(column, error))
}

/// The same, or NULL.
pub(super) fn json_if_any<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, Fault> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| serde_json::from_str(text).map_err(|error| damaged(column, error))).transpose()
}

/// A column of milliseconds since the epoch.
pub(super) fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, Fault> {
    Timestamp::from_millisecond(get(row, column)?).map_err(|error| damaged(column, error))
}

/// The same, or NULL.
pub(super) fn time_if_any(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, Fault> {
    let millis: Option<i64> = get(row, column)?;
    millis.map(|m| Timestamp::from_millisecond(m).map_err(|error| damaged(column, error))).transpose()
}

/// An INTEGER column in the range of `T`.
pub(super) fn number<T: TryFrom<i64, Error: Display>>(row: &SqliteRow, column: &str) -> Result<T, Fault> {
    T::try_from(get::<i64>(row, column)?).map_err(|error| damaged(column, error))
}

/// JSON to store.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Damaged(format!("does not serialise: {error}")))
}

fn parse<T: FromStr<Err: Display>>(column: &str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error| damaged(column, error))
}

fn damaged(column: &str, error: impl Display) -> Fault {
    Damage::column(column, error).into()
}
