//! Encoding of values in the session store.

use serde::{Serialize, de::DeserializeOwned};

use crate::problem::{Problem, Result};

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| damaged(&error))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| damaged(&error))
}

/// Logs position and category only: the data hold product names and customer ids.
fn damaged(error: &serde_json::Error) -> Problem {
    tracing::error!(category = ?error.classify(), column = error.column(), "session data invalid");
    Problem::logged()
}
