//! Customer sessions: opaque tokens in the header `Orderworks-Session`, beside the API key, which names the merchant.
//!
//! Guarantees: only hashes of tokens are stored. A session is valid only with API keys of the merchant whose key opened
//! it. It ends `idle` after its last use and `lifetime` after it was opened (OWASP ASVS 5.0, V7.3.1 and V7.3.2), see
//! [`crate::SessionLimits`]. A customer has a bounded number of sessions, see [`index`].

mod codec;
mod index;

use std::time::Duration;

use base::{
    Timestamp,
    time::{between, later},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cache::SessionKey;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use store::{
    customers::Account,
    domain::{CustomerId, MerchantId},
    token::{Token, TokenKind},
};

use self::index::Entry;
pub(crate) use self::{
    codec::{decode, encode},
    index::Owner,
};
use crate::{
    problem::{Kind, Problem, Result},
    profile_cache::Profile,
    state::ApiState,
    view::LiveSessionView,
};

pub(crate) const HEADER: HeaderName = HeaderName::from_static("orderworks-session");
/// Least time between two recorded uses, so that reads do not become writes; what is shown of a use is as accurate.
const TOUCH_AFTER: Duration = Duration::from_hours(1);
/// Characters of a token's hash in a session's id: 120 bits distinguish a customer's sessions and do not reveal the
/// token.
const ID_CHARS: usize = 20;
const ID_PREFIX: &str = "ses_";

#[derive(Serialize, Deserialize)]
struct SessionRecord {
    customer: CustomerId,
    opened_at: Timestamp,
    touched_at: Timestamp,
}

/// A session that was just opened.
pub(crate) struct Opened {
    pub(crate) id: String,
    pub(crate) token: Token,
    pub(crate) expires_at: Timestamp,
}

/// The session of a request.
pub(crate) struct Current {
    pub(crate) owner: Owner,
    pub(crate) id: String,
}

/// Signs a customer in. With the most sessions allowed, the oldest one ends.
pub(crate) async fn open(state: &ApiState, account: &Account) -> Result<Opened> {
    let (token, now) = (Token::fresh(TokenKind::Session, &state.ambient), state.ambient.now());
    let (owner, merchant, hash) = (Owner::of(account), account.merchant, hash(&token));
    let entry = Entry { hash: hash.clone(), opened_at: now };
    for excess in index::add(state, owner, entry).await? {
        state.sessions.delete(&key(merchant, &excess.hash)).await?;
    }
    let record = SessionRecord { customer: account.id, opened_at: now, touched_at: now };
    let expires_at = expiry(state, &record);
    state.sessions.put(&key(merchant, &hash), &encode(&record)?, between(now, expires_at)).await?;
    // All sessions of the customer may have been ended before this one was stored.
    if !index::list(state, owner).await?.iter().any(|entry| entry.hash == hash) {
        state.sessions.delete(&key(merchant, &hash)).await?;
        return Err(ended());
    }
    Ok(Opened { id: id(&hash), token, expires_at })
}

/// Ends a session that was just opened, because the account has changed meanwhile.
pub(crate) async fn revoke(state: &ApiState, account: &Account, opened: &Opened) -> Result<()> {
    end(state, Owner::of(account), &hash(&opened.token)).await
}

/// The customer signed in with this request; `None` if it names no session. An ended or unknown session is a 401.
pub(crate) async fn customer(
    state: &ApiState,
    merchant: MerchantId,
    headers: &HeaderMap,
) -> Result<Option<CustomerId>> {
    if !headers.contains_key(HEADER) {
        return Ok(None);
    }
    Ok(Some(current(state, merchant, headers).await?.owner.customer))
}

/// The session of this request; a 401 without one.
pub(crate) async fn current(state: &ApiState, merchant: MerchantId, headers: &HeaderMap) -> Result<Current> {
    expect_header(headers)?;
    let hash = hash(&bearer_token(headers, &HEADER, TokenKind::Session).ok_or_else(ended)?);
    let key = key(merchant, &hash);
    let session = state.sessions.get(&key).await?.ok_or_else(ended)?;
    let record: SessionRecord = decode(&session.data)?;
    let now = state.ambient.now();
    // The limits may have been lowered since the session was stored.
    if expiry(state, &record) <= now {
        return Err(ended());
    }
    let current = Current { owner: Owner { merchant, customer: record.customer }, id: id(&hash) };
    if between(record.touched_at, now) >= TOUCH_AFTER {
        let record = SessionRecord { touched_at: now, ..record };
        let ttl = between(now, expiry(state, &record));
        // A concurrent request may have recorded a use too, or ended the session; its write stays.
        state.sessions.replace(&key, Some(session.version), &encode(&record)?, ttl).await?;
    }
    Ok(current)
}

/// The live sessions of the customer whose session is `current`, the oldest first.
pub(crate) async fn list(state: &ApiState, current: &Current) -> Result<Vec<LiveSessionView>> {
    let (owner, now, mut live) = (current.owner, state.ambient.now(), Vec::new());
    for entry in index::list(state, owner).await? {
        let Some(session) = state.sessions.get(&key(owner.merchant, &entry.hash)).await? else { continue };
        let record: SessionRecord = decode(&session.data)?;
        let expires_at = expiry(state, &record);
        if expires_at > now {
            let (id, opened_at, used_at) = (id(&entry.hash), record.opened_at, record.touched_at);
            let current = id == current.id;
            live.push(LiveSessionView { object: "session", id, current, opened_at, used_at, expires_at });
        }
    }
    Ok(live)
}

/// Ends a session of a customer by its id; a 404 when there is none.
pub(crate) async fn close_one(state: &ApiState, owner: Owner, id: &str) -> Result<()> {
    let entries = index::list(state, owner).await?;
    let entry = entries.into_iter().find(|entry| self::id(&entry.hash) == id);
    end(state, owner, &entry.ok_or_else(|| Problem::not_found("session"))?.hash).await
}

async fn end(state: &ApiState, owner: Owner, hash: &str) -> Result<()> {
    // In this order, so that a failed attempt can be repeated.
    state.sessions.delete(&key(owner.merchant, hash)).await?;
    index::remove(state, owner, hash).await
}

/// Ends all sessions of a customer, including those that are being opened meanwhile.
pub(crate) async fn close_all(state: &ApiState, owner: Owner) -> Result<()> {
    // Two passes: a failed attempt leaves the remaining sessions in the index, and sessions opened since the first pass
    // end in the second one.
    for entry in index::list(state, owner).await? {
        state.sessions.delete(&key(owner.merchant, &entry.hash)).await?;
    }
    for entry in index::clear(state, owner).await? {
        state.sessions.delete(&key(owner.merchant, &entry.hash)).await?;
    }
    Ok(())
}

/// The account of the customer who is signed in.
pub(crate) async fn account(state: &ApiState, owner: Owner) -> Result<Account> {
    let account = state.orders.customer_by_id(owner.customer).await?;
    account.filter(|account| account.merchant == owner.merchant).ok_or_else(ended)
}

/// What the customer who is signed in is shown of the account; cached, not for decisions.
pub(crate) async fn profile(state: &ApiState, owner: Owner) -> Result<Profile> {
    state.profiles.profile(owner.merchant, owner.customer).await?.ok_or_else(ended)
}

/// Signs out; may be repeated.
pub(crate) async fn close(state: &ApiState, merchant: MerchantId, headers: &HeaderMap) -> Result<()> {
    expect_header(headers)?;
    let Some(token) = bearer_token(headers, &HEADER, TokenKind::Session) else { return Ok(()) };
    let hash = hash(&token);
    let Some(session) = state.sessions.get(&key(merchant, &hash)).await? else { return Ok(()) };
    let SessionRecord { customer, .. } = decode(&session.data)?;
    end(state, Owner { merchant, customer }, &hash).await
}

fn expect_header(headers: &HeaderMap) -> Result<()> {
    if headers.contains_key(HEADER) {
        return Ok(());
    }
    Err(unauthorized(Kind::SESSION, "send the session's token as `Orderworks-Session`"))
}

/// The session's end unless it is used before.
fn expiry(state: &ApiState, record: &SessionRecord) -> Timestamp {
    let limits = &state.config.sessions;
    later(record.touched_at, limits.idle).min(later(record.opened_at, limits.lifetime))
}

/// A 401 with the challenge that RFC 9110, section 11.6.1 asks for.
pub(crate) fn unauthorized(kind: Kind, detail: &str) -> Problem {
    Problem::new(kind, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Orderworks-Session"))
}

fn ended() -> Problem {
    unauthorized(Kind::SESSION, "the session has ended or never was; sign in again")
}

/// The only token in this header, if it has the form of a token issued here.
pub(crate) fn bearer_token(headers: &HeaderMap, name: &HeaderName, kind: TokenKind) -> Option<Token> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok().and_then(|text| Token::parse(kind, text))
}

/// Hash of a token as it stands in keys of the session store.
fn hash(token: &Token) -> String {
    URL_SAFE_NO_PAD.encode(token.hash())
}

fn key(merchant: MerchantId, hash: &str) -> SessionKey {
    SessionKey::new("sign-in", format_args!("{merchant}:{hash}"))
}

fn id(hash: &str) -> String {
    format!("{ID_PREFIX}{}", hash.get(..ID_CHARS).unwrap_or(hash))
}
