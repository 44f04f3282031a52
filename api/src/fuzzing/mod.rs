//! Entry points for fuzzing: readers of what strangers send, each with what must hold whatever the bytes are.
//!
//! A check panics where something does not hold. The targets in `fuzz` call them without end; the tests below call them
//! over the same corpus and seeded changes of it.

use base::Timestamp;
use http::{HeaderMap, HeaderValue, Uri, uri::PathAndQuery};
use secrecy::SecretString;
use store::merchants::KeyScope;

use crate::{
    input::{self, LIMIT_MAX, Query, VALUE_CHARS_MAX},
    provider_webhooks, routes,
};

/// Characters of an idempotency key at most, as stored.
const KEY_CHARS_MAX: usize = 255;
/// 2023-11-14T22:13:20Z.
const SIGNED_AT: i64 = 1_700_000_000;

/// The body of an order: what the schema permits, the type takes; a problem stays small.
///
/// # Panics
/// Where that does not hold.
pub fn order_body(bytes: &[u8]) {
    routes::check_order_body(bytes);
}

/// The `Idempotency-Key` header: a key that is taken is visible ASCII of bounded length; keys of both scopes differ.
///
/// # Panics
/// Where that does not hold.
pub fn idempotency_key(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("idempotency-key", value);
    let Ok(Some(key)) = input::idempotency_key(&headers) else { return };
    assert!((1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    let scopes = [KeyScope::Publishable, KeyScope::Secret];
    let [public, secret] = scopes.map(|scope| input::scoped_key(scope, key.clone()));
    assert!(public == key && secret != key && secret.len() <= KEY_CHARS_MAX);
}

/// The query of a list with its cursor: bounded, without control characters, and a position within the prices.
///
/// # Panics
/// Where that does not hold.
pub fn cursor(bytes: &[u8]) {
    let query = [&b"/?"[..], bytes].concat();
    let Ok(path) = PathAndQuery::try_from(&query[..]) else { return };
    let uri = Uri::from(path);
    let Ok(page) = Query::paged(&uri, &["sort"]).page::<String>() else { return };
    assert!((1..=LIMIT_MAX).contains(&page.limit));
    if let Some(after) = page.after {
        assert!(after.chars().count() <= VALUE_CHARS_MAX && !after.chars().any(char::is_control));
        routes::check_cursor(&after);
    }
}

/// The signature of a provider's webhook: the header up to the first line break, then the body. Nothing fits a secret
/// that was not used.
///
/// # Panics
/// Where that does not hold.
pub fn signature_header(bytes: &[u8]) {
    let cut = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (header, body) = bytes.split_at(cut);
    let Ok(header) = std::str::from_utf8(header) else { return };
    let now = Timestamp::from_second(SIGNED_AT).unwrap_or_default();
    let secrets = [SecretString::from("an unknown secret")];
    assert!(!provider_webhooks::is_signed(&secrets, header, body, now));
}

#[cfg(test)]
mod tests;
