//! Columns of a row by name, read without panics. An engine implements them for the rows of its driver.
//!
//! Guarantees: a column that is NULL where it must not be, or does not read back, is a [`Damage`] that names it.

use std::{fmt::Display, str::FromStr};

use base::{Timestamp, ids::Uuid};
use serde::de::DeserializeOwned;

use super::Damage;

/// A row. The engine's error `F` is a parameter, not an associated type: an engine may implement the trait for a type
/// of its driver only if the trait names a type of the engine (E0117).
pub trait Columns<F: From<Damage>> {
    fn text_if_any(&self, column: &str) -> Result<Option<&str>, F>;

    fn integer_if_any(&self, column: &str) -> Result<Option<i64>, F>;

    fn bytes_if_any(&self, column: &str) -> Result<Option<&[u8]>, F>;

    fn time_if_any(&self, column: &str) -> Result<Option<Timestamp>, F>;

    fn flag(&self, column: &str) -> Result<bool, F>;

    /// An id: from its text, or by `of` where the engine stores UUIDs.
    fn id_if_any<T: FromStr<Err: Display>>(&self, column: &str, of: fn(Uuid) -> T) -> Result<Option<T>, F>;

    fn id<T: FromStr<Err: Display>>(&self, column: &str, of: fn(Uuid) -> T) -> Result<T, F> {
        Ok(required(column, self.id_if_any(column, of)?)?)
    }

    fn text(&self, column: &str) -> Result<String, F> {
        Ok(required(column, self.text_if_any(column)?)?.to_owned())
    }

    fn time(&self, column: &str) -> Result<Timestamp, F> {
        Ok(required(column, self.time_if_any(column)?)?)
    }

    /// An integer in the range of `T`.
    fn number<T: TryFrom<i64, Error: Display>>(&self, column: &str) -> Result<T, F> {
        let number = required(column, self.integer_if_any(column)?)?;
        Ok(T::try_from(number).map_err(|error| Damage::column(column, error))?)
    }

    /// A text that parses as `T`.
    fn parsed_if_any<T: FromStr<Err: Display>>(&self, column: &str) -> Result<Option<T>, F> {
        let text = self.text_if_any(column)?;
        Ok(text.map(str::parse::<T>).transpose().map_err(|error| Damage::column(column, error))?)
    }

    fn parsed<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T, F> {
        Ok(required(column, self.parsed_if_any(column)?)?)
    }

    /// A text that holds JSON of a `T`.
    fn json_if_any<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, F> {
        let text = self.text_if_any(column)?;
        Ok(text.map(serde_json::from_str::<T>).transpose().map_err(|error| Damage::column(column, error))?)
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, F> {
        Ok(required(column, self.json_if_any(column)?)?)
    }
}

fn required<T>(column: &str, value: Option<T>) -> Result<T, Damage> {
    value.ok_or_else(|| Damage::column(column, "is NULL"))
}
