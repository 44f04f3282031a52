//! Cache groups (RFC 9875): names by which caches link stored answers with the writes that change them.
//!
//! Guarantees: a group is of one merchant, so that no write of one empties the cache of another; a name has at most 32
//! characters, which every cache takes, and tells neither merchant nor sku. A cache that does not know groups ignores
//! them, and uses an answer for as long as its policy says.

use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use store::domain::MerchantId;

/// Of an answer: the groups that it is in.
pub(super) const GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// Of the answer to a write: the groups whose stored answers it makes invalid.
const INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
/// Bytes of the hash in a name.
const HASH_BYTES: usize = 8;

/// Answers that one write makes invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheGroup<'a> {
    /// All that show the product with this sku by itself.
    Product(&'a str),
    /// All that show a choice of products: lists, searches, counts, categories.
    Lists,
}

impl CacheGroup<'_> {
    fn name(self, merchant: MerchantId) -> String {
        let (kind, text) = match self {
            Self::Product(sku) => ("product", format!("{merchant}:{sku}")),
            Self::Lists => ("catalog", merchant.to_string()),
        };
        format!("{kind}-{}", hex::encode(&Sha256::digest(text)[..HASH_BYTES]))
    }
}

/// The groups as a list of strings (RFC 9651, section 3.1).
pub(super) fn field(merchant: MerchantId, groups: &[CacheGroup<'_>]) -> HeaderValue {
    let names: Vec<_> = groups.iter().map(|group| format!("\"{}\"", group.name(merchant))).collect();
    // Names are letters, digits and dashes; an empty list is the same as no field.
    HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// The header field of an answer to a write that may have changed the product.
pub(crate) fn invalidation(merchant: MerchantId, sku: &str) -> [(HeaderName, HeaderValue); 1] {
    [(INVALIDATION, field(merchant, &[CacheGroup::Product(sku), CacheGroup::Lists]))]
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;

    #[test]
    fn names_are_short_and_of_one_merchant() {
        let (own, other) = (MerchantId::fresh(&Ambient::system()), MerchantId::fresh(&Ambient::system()));
        let sku = "x".repeat(64);
        let names = [
            CacheGroup::Product(&sku).name(own),
            CacheGroup::Product("x").name(own),
            CacheGroup::Product(&sku).name(other),
            CacheGroup::Lists.name(own),
            CacheGroup::Lists.name(other),
        ];
        assert!(names.iter().all(|name| name.len() <= 32 && name.is_ascii()), "{names:?}");
        let mut distinct = names.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        let [(name, value)] = invalidation(own, "x");
        assert_eq!(name, "cache-group-invalidation");
        assert_eq!(value, format!("\"{}\", \"{}\"", names[1], names[3]));
    }
}
