//! Reading of requests: bodies, query strings, paths and idempotency keys.
//!
//! Guarantees: all faults of a request are reported at once, each with its position; nothing that was sent is echoed
//! except field names. A body is checked against the schema of its type ([`Request`]), the one of the OpenAPI document.

mod body;
mod card;
mod country;
mod formats;
mod issuers;
mod key;
mod links;
mod path;
mod query;
mod report;
mod schema;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use body::check_body;
pub(crate) use body::{Body, receive};
pub(crate) use formats::{SKU_PATTERN, TEXT_PATTERN, is_sku, pattern};
pub(crate) use key::{idempotency_key, required_idempotency_key, scoped_key};
pub(crate) use path::{PathText, parse_id};
pub(crate) use query::{LIMIT_MAX, Query, VALUE_CHARS_MAX};
pub(crate) use report::Report;
pub(crate) use schema::Request;
