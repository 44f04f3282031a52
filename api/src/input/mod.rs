//! Reading of requests: bodies, query strings and idempotency keys.
//!
//! Guarantees: all faults of a request are reported at once, each with its position; nothing that was sent is echoed
//! except field names. Bodies are read by hand from a [`serde_json::Value`], because serde stops at the first fault.

mod body;
mod card;
mod fields;
mod key;
mod query;

pub(crate) use body::{Body, FromBody, receive};
pub(crate) use fields::Node;
pub(crate) use key::{idempotency_key, required_idempotency_key, scoped_key};
pub(crate) use query::{LIMIT_MAX, Query};
