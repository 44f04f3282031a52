//! Signed-in customers: opaque tokens in the header `Orderworks-Session`, beside the API key, which names the merchant.
//!
//! Guarantees: only hashes of tokens are kept; a session is the merchant's whose key opened it and nothing to others;
//! it lives on while it is used, see [`TTL`].

use std::time::Duration;

use base::{Timestamp, time::later};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use store::{
    cache::SessionKey,
    customers::Account,
    domain::{CustomerId, MerchantId},
};

use crate::{
    problem::{Kind, Problem},
    state::ApiState,
};

/// Where the token stands.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("orderworks-session");
const PREFIX: &str = "ows_";
const TOKEN_BYTES: usize = 32;
/// Longer tokens are not hashed.
const TOKEN_CHARS_MAX: usize = 128;
/// From the last use, give or take [`TOUCH_AFTER`].
const TTL: Duration = Duration::from_hours(30 * 24);
/// A use is written down this long after the last one that was, so that reading does not become writing.
const TOUCH_AFTER: Duration = Duration::from_hours(1);

#[derive(Serialize, Deserialize)]
struct Kept {
    customer: CustomerId,
    touched_at: Timestamp,
}

/// A session that was just opened.
pub(crate) struct Opened {
    pub(crate) token: String,
    pub(crate) expires_at: Timestamp,
}

/// Signs a customer in.
pub(crate) async fn open(state: &ApiState, account: &Account) -> Result<Opened, Problem> {
    let mut secret = [0; TOKEN_BYTES];
    getrandom::fill(&mut secret).map_err(|error| {
        tracing::error!(%error, "the system gives no randomness");
        Problem::logged()
    })?;
    let (token, now) = (format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret)), state.ambient.now());
    let kept = Kept { customer: account.id, touched_at: now };
    state.sessions.put(&key(account.merchant, &token), &encode(&kept)?, TTL).await?;
    Ok(Opened { token, expires_at: later(now, TTL) })
}

/// Who is signed in with this request; `None` when it names no session. One that has ended, or never was, is a 401.
pub(crate) async fn customer(
    state: &ApiState,
    merchant: MerchantId,
    headers: &HeaderMap,
) -> Result<Option<CustomerId>, Problem> {
    if !headers.contains_key(HEADER) {
        return Ok(None);
    }
    let key = key(merchant, bearer_token(headers, &HEADER, PREFIX).ok_or_else(ended)?);
    let session = state.sessions.get(&key).await?.ok_or_else(ended)?;
    let Kept { customer, touched_at } = decode(&session.data)?;
    let now = state.ambient.now();
    if now.duration_since(touched_at) >= TOUCH_AFTER.try_into().unwrap_or_default() {
        let kept = encode(&Kept { customer, touched_at: now })?;
        // Whoever was faster has touched it too, or ended it, and that stays so.
        state.sessions.replace(&key, Some(session.version), &kept, TTL).await?;
    }
    Ok(Some(customer))
}

/// The account of who is signed in.
pub(crate) async fn account(
    state: &ApiState,
    merchant: MerchantId,
    customer: CustomerId,
) -> Result<Account, Problem> {
    let account = state.orders.customer_by_id(customer).await?;
    account.filter(|account| account.merchant == merchant).ok_or_else(ended)
}

/// Signs out. Repeating it is fine.
pub(crate) async fn close(
    state: &ApiState,
    merchant: MerchantId,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if !headers.contains_key(HEADER) {
        return Err(unauthorized(Kind::SESSION, "send the session's token as `Orderworks-Session`"));
    }
    if let Some(token) = bearer_token(headers, &HEADER, PREFIX) {
        state.sessions.delete(&key(merchant, token)).await?;
    }
    Ok(())
}

/// Ends all sessions of a customer.
#[expect(clippy::unused_async, reason = "sessions are not found by their customer yet")]
pub(crate) async fn close_all(
    _state: &ApiState,
    _merchant: MerchantId,
    _customer: CustomerId,
) -> Result<(), Problem> {
    Ok(())
}

/// A 401 with the challenge that RFC 9110, section 11.6.1 asks for.
pub(crate) fn unauthorized(kind: Kind, detail: &str) -> Problem {
    Problem::new(kind, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Orderworks-Session"))
}

fn ended() -> Problem {
    unauthorized(Kind::SESSION, "the session has ended or never was; sign in again")
}

/// The one token of a request in this header, if it can be one of ours.
pub(crate) fn bearer_token<'a>(headers: &'a HeaderMap, name: &HeaderName, prefix: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok().filter(|token| token.starts_with(prefix) && token.len() <= TOKEN_CHARS_MAX)
}

/// Looked up by hash, so no comparison tells anything about a token through its timing. 256 random bits need no slow
/// hash.
fn key(merchant: MerchantId, token: &str) -> SessionKey {
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
    SessionKey::new("session", format_args!("{merchant}:{hash}"))
}

/// As values stand in the session store.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|error| damaged(&error))
}

/// The value of these bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| damaged(&error))
}

/// Position and expectation only: the data holds names of products and customers' ids.
fn damaged(error: &serde_json::Error) -> Problem {
    tracing::error!(category = ?error.classify(), column = error.column(), "a session cannot be read");
    Problem::logged()
}
