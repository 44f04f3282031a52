//! Reading of column values without panics, and arrays of values from many rows.

use base::{Timestamp, ids::Uuid};
use serde::Serialize;
use sqlx::{Postgres, Row, postgres::PgRow};
use store::rules::columns::Columns;

use super::{fault::PostgresFault, timestamps::Moment};

/// A column, of the type its query selects.
pub(super) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, PostgresFault>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    Ok(row.try_get(column)?)
}

/// Columns of type `json` are selected as text.
impl Columns<PostgresFault> for PgRow {
    fn text_if_any(&self, column: &str) -> Result<Option<&str>, PostgresFault> {
        get(self, column)
    }

    fn integer_if_any(&self, column: &str) -> Result<Option<i64>, PostgresFault> {
        get(self, column)
    }

    fn bytes_if_any(&self, column: &str) -> Result<Option<&[u8]>, PostgresFault> {
        get(self, column)
    }

    fn time_if_any(&self, column: &str) -> Result<Option<Timestamp>, PostgresFault> {
        Ok(get::<Option<Moment>>(self, column)?.map(|moment| moment.0))
    }

    fn flag(&self, column: &str) -> Result<bool, PostgresFault> {
        get(self, column)
    }

    fn id_if_any<T>(&self, column: &str, of: fn(Uuid) -> T) -> Result<Option<T>, PostgresFault> {
        Ok(get::<Option<Uuid>>(self, column)?.map(of))
    }
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, PostgresFault> {
    serde_json::to_string(value)
        .map_err(|error| PostgresFault::Corrupt(format!("does not serialise: {error}")))
}

/// One value of each element of `all`: an array to bind and `unnest`.
pub(super) fn column<'a, A, T>(all: &'a [A], of: impl Fn(&'a A) -> T) -> Vec<T> {
    all.iter().map(of).collect()
}
