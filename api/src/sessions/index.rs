//! Index of a customer's sessions: one value of the session store, changed by compare-and-swap.
//!
//! Guarantees: a session is in its customer's index before it is stored, and is kept only if the index still names it
//! afterwards. So [`clear`] ends all sessions of a customer, including those that are being opened meanwhile. Bounded
//! by `sessions_per_customer`. May name sessions that have ended.

use std::time::Duration;

use base::{Timestamp, time::later};
use cache::SessionKey;
use serde::{Deserialize, Serialize};
use store::{
    customers::Account,
    domain::{CustomerId, MerchantId},
};

use super::codec::{decode, encode};
use crate::{
    problem::{Kind, Problem, Result},
    state::ApiState,
};

const TRIES_MAX: usize = 16;

/// A customer, whose sessions stand in one index.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) merchant: MerchantId,
    pub(crate) customer: CustomerId,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Hash of the token, see [`super::hash`].
    pub(super) hash: String,
    pub(super) opened_at: Timestamp,
}

impl Owner {
    pub(crate) fn of(account: &Account) -> Self {
        Self { merchant: account.merchant, customer: account.id }
    }

    fn key(self) -> SessionKey {
        let Self { merchant, customer } = self;
        SessionKey::new("sessions-of", format_args!("{merchant}:{customer}"))
    }
}

/// The entries, the oldest first.
pub(super) async fn list(state: &ApiState, owner: Owner) -> Result<Vec<Entry>> {
    Ok(load(state, owner).await?.0)
}

/// Adds a session; returns the sessions that have to end in exchange.
pub(super) async fn add(state: &ApiState, owner: Owner, entry: Entry) -> Result<Vec<Entry>> {
    let limit = state.config.sessions.per_customer.get();
    change(state, owner, |entries| {
        entries.push(entry.clone());
        let excess = entries.len().saturating_sub(limit);
        entries.drain(..excess).collect()
    })
    .await
}

/// Removes a session, if the index names it.
pub(super) async fn remove(state: &ApiState, owner: Owner, hash: &str) -> Result<()> {
    change(state, owner, |entries| entries.retain(|entry| entry.hash != hash)).await
}

/// Removes and returns all sessions.
pub(super) async fn clear(state: &ApiState, owner: Owner) -> Result<Vec<Entry>> {
    change(state, owner, std::mem::take).await
}

async fn change<T>(state: &ApiState, owner: Owner, edit: impl Fn(&mut Vec<Entry>) -> T) -> Result<T> {
    for _ in 0..TRIES_MAX {
        let (mut entries, version) = load(state, owner).await?;
        let result = edit(&mut entries);
        let lifetime = state.config.sessions.lifetime;
        let replaced = state.sessions.replace(&owner.key(), version, &encode(&entries)?, lifetime).await?;
        if replaced.is_some() {
            return Ok(result);
        }
    }
    Err(Problem::new(Kind::UNAVAILABLE, "the customer's sessions keep changing; try again").retry_after(1))
}

async fn load(state: &ApiState, owner: Owner) -> Result<(Vec<Entry>, Option<i64>)> {
    let Some(session) = state.sessions.get(&owner.key()).await? else { return Ok((Vec::new(), None)) };
    let mut entries: Vec<Entry> = decode(&session.data)?;
    let (now, lifetime): (_, Duration) = (state.ambient.now(), state.config.sessions.lifetime);
    entries.retain(|entry| later(entry.opened_at, lifetime) > now);
    Ok((entries, Some(session.version)))
}
