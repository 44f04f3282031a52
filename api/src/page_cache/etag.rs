//! Entity tags: a strong validator of a body, and the condition `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1.2).

use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

/// Bytes of a body's hash in its tag: enough that no two bodies of one URL share one.
const HASH_BYTES: usize = 16;

/// The tag of a body: the same bytes have the same tag, in every process and release.
pub(super) fn of(body: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(body);
    let text = format!("\"{}\"", hex::encode(&hash[..HASH_BYTES]));
    // Hexadecimal digits in quotes; the empty tag matches no other.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the request names the tag as one that it has. Weak comparison: a cache may have weakened the tag.
pub(super) fn is_named(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut named = values.flat_map(|value| value.split(',')).map(str::trim);
    named.any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_met_by_the_tag_alone() {
        let tag = of(b"a mug");
        assert_eq!(tag, of(b"a mug"));
        assert_ne!(tag, of(b"a cup"));
        let text = tag.to_str().expect("ASCII").to_owned();
        assert!(text.len() == 34 && text.starts_with('"') && text.ends_with('"'), "{text}");
        let is_named_by = |values: &[&str]| {
            let mut request = HeaderMap::new();
            for value in values {
                request.append(header::IF_NONE_MATCH, value.parse().expect("a header value"));
            }
            is_named(&request, &tag)
        };
        let (weak, in_list) = (format!("W/{text}"), format!("\"x\", {text}"));
        let text = text.as_str();
        for good in [&[text][..], &[weak.as_str()], &[in_list.as_str()], &["\"x\"", text], &["*"]] {
            assert!(is_named_by(good), "{good:?}");
        }
        assert!(!is_named_by(&[]));
        for bad in [&["\"x\""][..], &["\"\""], &[text.trim_matches('"')], &["w/*"], &[&text[..20]]] {
            assert!(!is_named_by(bad), "{bad:?}");
        }
    }
}
