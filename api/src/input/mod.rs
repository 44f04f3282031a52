//! Reading of requests: bodies, query strings, paths and idempotency keys.
//!
//! Guarantees: all faults of a request are reported at once, each with its position; nothing that was sent is echoed
//! except field names. A body is defined once, see [`request!`]: reading and OpenAPI document cannot disagree.

mod body;
mod card;
mod country;
mod formats;
mod key;
mod node;
mod path;
mod query;
mod request;
mod rules;
mod text;

pub(crate) use body::{Body, receive};
pub(crate) use formats::{PAYMENT_METHOD, REASON, SKU, SLUG, country, currency, email, verification_token};
pub(crate) use key::{idempotency_key, required_idempotency_key, scoped_key};
pub(crate) use node::Node;
pub(crate) use path::{PathText, PathTexts, parse_id};
pub(crate) use query::{LIMIT_MAX, Query};
pub(crate) use request::{Request, closed_object, describe, doc_text, fields, request};
pub(crate) use rules::{Rule, Schemas, array, boolean, integer, object, one_of, optional};
pub(crate) use text::{TEXT_PATTERN, line, paragraphs};
