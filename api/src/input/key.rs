//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): a bare token or a quoted sf-string.

use http::HeaderMap;

use crate::problem::{Kind, Problem};

const NAME: &str = "idempotency-key";
const KEY_CHARS_MAX: usize = 255;

/// The key, which must be there.
pub(crate) fn required_idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let missing =
        "send a fresh `Idempotency-Key`, a UUIDv4 for instance, with each new order; see docs/API.md";
    idempotency_key(headers)?.ok_or_else(|| Problem::new(Kind::KEY_MISSING, missing))
}

/// The key, if there is one.
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
}
