//! API key authentication by `Authorization: Bearer`.
//!
//! Guarantees: unknown, malformed and missing keys get the same 401; a key is hashed at once and is never stored or
//! logged. A handler demands a key by its extractor: [`AnyKey`] or [`SecretKey`], which also apply the limits of reads
//! and writes, or one of [`crate::limits`].

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderValue, header, request};
use sha2::{Digest, Sha256};
use store::merchants::{KeyHash, KeyRecord, KeyScope};

use crate::{
    problem::{Kind, Problem, Result},
    state::ApiState,
};

/// Longer tokens are rejected without hashing.
const TOKEN_BYTES_MAX: usize = 256;

/// A caller with either kind of key. Safe methods count against the read limits, others against the write limits.
pub(crate) struct AnyKey(pub(crate) KeyRecord);

/// A caller with the merchant's secret key.
pub(crate) struct SecretKey(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for AnyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let key = authenticate(parts, state).await?;
        let (limiters, address) = (&state.limiters, state.client_ip(parts));
        if parts.method.is_safe() {
            limiters.reads.take(&key, address).await?;
        } else {
            limiters.take_write(&key, address).await?;
        }
        Ok(Self(key))
    }
}

impl FromRequestParts<ApiState> for SecretKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let AnyKey(key) = AnyKey::from_request_parts(parts, state).await?;
        match key.scope {
            KeyScope::Secret => Ok(Self(key)),
            KeyScope::Publishable => Err(Problem::new(
                Kind::SECRET_KEY_REQUIRED,
                "a publishable key may read the catalog, place orders and read the state of one order",
            )),
        }
    }
}

pub(crate) async fn authenticate(parts: &request::Parts, state: &ApiState) -> Result<KeyRecord> {
    key_of(&parts.headers, state.client_ip(parts), state).await
}

/// The key of a request. One that is not cached costs a read of the store, so lookups are limited per address.
pub(crate) async fn key_of(headers: &HeaderMap, address: IpAddr, state: &ApiState) -> Result<KeyRecord> {
    let hash = key_hash(headers).ok_or_else(unauthorized)?;
    let now = state.ambient.now();
    if let Some(key) = state.keys.get(&hash, now) {
        return Ok(key);
    }
    state.limiters.take_key_lookup(address).await?;
    let key = state.orders.key_by_hash(hash).await?.ok_or_else(unauthorized)?;
    state.keys.put(hash, key.clone(), now);
    state.key_uses.note(&state.orders, &key, now);
    Ok(key)
}

/// The key with this text where it was found a moment ago: from memory, without asking the store.
pub(crate) fn remembered(key: &str, state: &ApiState) -> Option<KeyRecord> {
    state.keys.get(&Sha256::digest(key).into(), state.ambient.now())
}

fn unauthorized() -> Problem {
    Problem::new(Kind::UNAUTHORIZED, "send `Authorization: Bearer` with one of your API keys")
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn key_hash(headers: &HeaderMap) -> Option<KeyHash> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let known = token.starts_with("owk_pub_") || token.starts_with("owk_sec_");
    let usable = known && token.len() <= TOKEN_BYTES_MAX && scheme.eq_ignore_ascii_case("bearer");
    usable.then(|| Sha256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digests are all that is compared with what is cached and stored. They end at their first byte, wherever a guess
    /// differs from the key: the time of a comparison does not tell how much of a guess is right.
    #[test]
    fn digests_do_not_tell_how_much_of_a_guess_is_right() {
        let hash = |key: &[u8]| {
            let value = HeaderValue::from_bytes(&[&b"Bearer "[..], key].concat()).expect("a header value");
            key_hash(&HeaderMap::from_iter([(header::AUTHORIZATION, value)])).expect("is hashed")
        };
        let (key, first) = (b"owk_sec_0123456789abcdef0123456789abcdef01234567", "owk_sec_".len());
        for at in first..key.len() {
            let mut differing = key.to_vec();
            differing[at] ^= 1;
            for guess in [&differing[..], &key[..at]] {
                assert_ne!(hash(guess)[0], hash(key)[0], "right up to character {at}");
            }
        }
    }

    #[test]
    fn only_one_well_formed_bearer_token_is_hashed() {
        let hash = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a header value"));
            key_hash(&headers).is_some()
        };
        assert!(hash("Bearer owk_sec_x") && hash("bearer owk_pub_x"));
        let long = format!("Bearer owk_sec_{}", "x".repeat(TOKEN_BYTES_MAX));
        for bad in ["owk_sec_x", "Basic owk_sec_x", "Bearer sk_live_x", "Bearer  owk_sec_x", &long] {
            assert!(!hash(bad), "{bad}");
        }
    }
}
