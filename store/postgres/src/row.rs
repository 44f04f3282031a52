//! Reading of column values without panics, and arrays of values from many rows.

use std::{fmt::Display, str::FromStr};

use base::{Timestamp, ids::Uuid};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Postgres, Row, postgres::PgRow};
use store::rules::Damage;

use super::{fault::PostgresFault, timestamps::Moment};

/// A column, of the type its query selects.
pub(super) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, PostgresFault>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    Ok(row.try_get(column)?)
}

/// A uuid column as an id.
pub(super) fn id<T>(row: &PgRow, column: &str, of: fn(Uuid) -> T) -> Result<T, PostgresFault> {
    Ok(of(get(row, column)?))
}

/// A nullable uuid column as an id.
pub(super) fn id_if_any<T>(row: &PgRow, column: &str, of: fn(Uuid) -> T) -> Result<Option<T>, PostgresFault> {
    Ok(get::<Option<Uuid>>(row, column)?.map(of))
}

/// A text column that parses as `T`.
pub(super) fn parsed<T: FromStr<Err: Display>>(row: &PgRow, column: &str) -> Result<T, PostgresFault> {
    parse(column, get::<&str>(row, column)?)
}

/// A nullable text column that parses as `T`.
pub(super) fn parsed_if_any<T: FromStr<Err: Display>>(
    row: &PgRow,
    column: &str,
) -> Result<Option<T>, PostgresFault> {
    get::<Option<&str>>(row, column)?.map(|text| parse(column, text)).transpose()
}

/// A text column that holds JSON of a `T`; `json` columns are selected as text.
pub(super) fn json<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<T, PostgresFault> {
    serde_json::from_str(get(row, column)?).map_err(|error| Damage::column(column, error).into())
}

/// A nullable text column that holds JSON of a `T`.
pub(super) fn json_if_any<T: DeserializeOwned>(
    row: &PgRow,
    column: &str,
) -> Result<Option<T>, PostgresFault> {
    let text: Option<&str> = get(row, column)?;
    let read = |text| serde_json::from_str(text).map_err(|error| Damage::column(column, error).into());
    text.map(read).transpose()
}

/// A `timestamptz` column.
pub(super) fn time(row: &PgRow, column: &str) -> Result<Timestamp, PostgresFault> {
    Ok(get::<Moment>(row, column)?.0)
}

/// A nullable `timestamptz` column.
pub(super) fn time_if_any(row: &PgRow, column: &str) -> Result<Option<Timestamp>, PostgresFault> {
    Ok(get::<Option<Moment>>(row, column)?.map(|moment| moment.0))
}

/// A `bigint` column in the range of `T`.
pub(super) fn number<T: TryFrom<i64, Error: Display>>(row: &PgRow, column: &str) -> Result<T, PostgresFault> {
    T::try_from(get::<i64>(row, column)?).map_err(|error| Damage::column(column, error).into())
}

/// JSON to store.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, PostgresFault> {
    serde_json::to_string(value)
        .map_err(|error| PostgresFault::Corrupt(format!("does not serialise: {error}")))
}

/// One value of each element of `all`: an array to bind and `unnest`.
pub(super) fn column<'a, A, T>(all: &'a [A], of: impl Fn(&'a A) -> T) -> Vec<T> {
    all.iter().map(of).collect()
}

fn parse<T: FromStr<Err: Display>>(column: &str, text: &str) -> Result<T, PostgresFault> {
    text.parse().map_err(|error| Damage::column(column, error).into())
}
