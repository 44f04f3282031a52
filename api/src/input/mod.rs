//! Reading what clients send: bodies, query strings and idempotency keys.
//!
//! Guarantees: every fault of a request is told at once, each with the place it is at; nothing that was sent is
//! echoed but names of fields. Bodies are read by hand from a [`serde_json::Value`] instead of by serde, which
//! stops at the first fault.

mod body;
mod card;
mod fields;
mod key;
mod query;

pub(crate) use body::{Body, FromBody, receive};
pub(crate) use fields::Node;
pub(crate) use key::{idempotency_key, required_idempotency_key, scoped_key};
pub(crate) use query::{LIMIT_MAX, Query};
