//! `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): a bare token or a quoted sf-string.

use http::HeaderMap;
use sha2::{Digest, Sha256};
use store::merchants::KeyScope;

use crate::problem::{Kind, Problem};

const NAME: &str = "idempotency-key";
const KEY_CHARS_MAX: usize = 255;
const SECRET_PREFIX: &str = "secret ";

/// The client's key, where one is required.
pub(crate) fn required_idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let missing =
        "send a fresh `Idempotency-Key`, a UUIDv4 for instance, with each order or refund; see docs/API.md";
    idempotency_key(headers)?.ok_or_else(|| Problem::new(Kind::KEY_MISSING, missing))
}

/// Stored form of a key. Keys sent with a secret key are kept apart from those that any customer may send with the
/// publishable key. The blanks in the prefix keep both from colliding, as a client's key holds none. A key that gets
/// too long is stored as its hash.
pub(crate) fn scoped_key(scope: KeyScope, key: String) -> String {
    match scope {
        KeyScope::Publishable => key,
        KeyScope::Secret if SECRET_PREFIX.len() + key.len() <= KEY_CHARS_MAX => {
            format!("{SECRET_PREFIX}{key}")
        }
        KeyScope::Secret => format!("{SECRET_PREFIX}sha256 {}", hex::encode(Sha256::digest(key))),
    }
}

/// The client's key, or `None` without the header. A malformed or repeated header is rejected.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().and_then(unquote);
    let key = key
        .filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(Problem::new(Kind::KEY_INVALID, "expected one key of 1 to 255 visible ASCII characters")),
    }
}

fn unquote(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let inner = rest.strip_suffix('"')?;
    let mut key = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(next) = chars.next() {
        match next {
            '"' => return None,
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            plain => key.push(plain),
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_and_quoted_keys_are_the_same_key() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(NAME, value.parse().expect("a header value"));
            idempotency_key(&headers).ok().flatten()
        };
        assert_eq!(read("abc-1").as_deref(), Some("abc-1"));
        assert_eq!(read(r#""abc-1""#).as_deref(), Some("abc-1"));
        assert_eq!(read(r#""a\"\\b""#).as_deref(), Some(r#"a"\b"#));
        assert_eq!(read(&"k".repeat(255)).map(|key| key.len()), Some(255));
        for bad in ["", "\"\"", "a b", "\"a", r#""a"b""#, r#""a\b""#, &"k".repeat(256)] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_of_secret_api_keys_stand_apart_and_fit() {
        let long = ["k".repeat(248), "k".repeat(249), "k".repeat(255), format!("{}x", "k".repeat(254))];
        let keys = ["a", "sha256", "secret"].map(str::to_owned).into_iter().chain(long);
        let mut kept = std::collections::BTreeSet::new();
        for key in keys {
            assert_eq!(scoped_key(KeyScope::Publishable, key.clone()), key);
            let secret = scoped_key(KeyScope::Secret, key.clone());
            assert!(secret.len() <= KEY_CHARS_MAX && secret.contains(' '), "{secret}");
            assert!(kept.insert(key) && kept.insert(secret));
        }
    }
}
