//! Reading of values from rows without a panic.

use std::{fmt::Display, str::FromStr};

use base::{Timestamp, ids::Uuid, sqlite::SqliteError};
use sqlx::{Row, sqlite::SqliteRow};
use store::rules::{Damage, columns::Columns};

use crate::orders::fault::{Result, SqliteFault};

/// A column that is there and of the type its query asks for.
pub(crate) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, SqliteError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    Ok(row.try_get(column)?)
}

/// Times are milliseconds since the epoch, ids and JSON are texts.
impl Columns<SqliteFault> for SqliteRow {
    fn text_if_any(&self, column: &str) -> Result<Option<&str>> {
        Ok(get(self, column)?)
    }

    fn integer_if_any(&self, column: &str) -> Result<Option<i64>> {
        Ok(get(self, column)?)
    }

    fn bytes_if_any(&self, column: &str) -> Result<Option<&[u8]>> {
        Ok(get(self, column)?)
    }

    fn time_if_any(&self, column: &str) -> Result<Option<Timestamp>> {
        let time = self.integer_if_any(column)?.map(Timestamp::from_millisecond).transpose();
        Ok(time.map_err(|error| Damage::column(column, error))?)
    }

    fn flag(&self, column: &str) -> Result<bool> {
        Ok(get(self, column)?)
    }

    fn id_if_any<T: FromStr<Err: Display>>(&self, column: &str, _of: fn(Uuid) -> T) -> Result<Option<T>> {
        self.parsed_if_any(column)
    }
}
