//! Merchants and their API keys. Only hashes of keys are stored: a key has at least 128 random bits, so SHA-256 is
//! enough, and a slow password hash would only delay every request.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, ids};
use serde::{Deserialize, Serialize};

use crate::{
    checkout::CheckoutSettings,
    domain::{EventId, KeyId, MerchantId},
    error::Result,
    names::names,
};

/// SHA-256 of a whole key.
pub type KeyHash = [u8; 32];

/// The rights of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// `owk_pub_…`: catalog, carts, orders.
    Publishable,
    /// `owk_sec_…`: everything of the merchant.
    Secret,
}

names!(KeyScope, "key scope", { Publishable => "publishable", Secret => "secret" });

/// A stored key, without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Text form `key_…`; not secret, may appear in logs.
    pub id: KeyId,
    pub merchant: MerchantId,
    pub scope: KeyScope,
}

/// A merchant, as the operator lists it; commands print it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MerchantRecord {
    pub id: MerchantId,
    /// The display name, for mails.
    pub name: String,
    pub created_at: Timestamp,
}

/// A key to be created.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What it opens.
    pub record: KeyRecord,
    /// SHA-256 of the whole key.
    pub hash: KeyHash,
    /// The operator's note of its use.
    pub label: Option<String>,
    /// The first characters of the key, by which its owner recognises it.
    pub prefix: Option<String>,
}

/// A key as it is listed, without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// What it opens, until it is revoked.
    pub record: KeyRecord,
    pub label: Option<String>,
    /// See [`NewKey::prefix`]; `None` for keys of earlier releases.
    pub prefix: Option<String>,
    pub created_at: Timestamp,
    /// The last noted use; coarse, see [`KEY_USE_EVERY`].
    pub last_used_at: Option<Timestamp>,
    /// Since when it is rejected.
    pub revoked_at: Option<Timestamp>,
}

impl StoredKey {
    /// A key that was just created.
    pub fn fresh(key: NewKey, at: Timestamp) -> Self {
        let NewKey { record, label, prefix, .. } = key;
        Self { record, label, prefix, created_at: at, last_used_at: None, revoked_at: None }
    }

    /// The record, unless the key is revoked.
    pub fn live(self) -> Option<KeyRecord> {
        self.revoked_at.is_none().then_some(self.record)
    }
}

/// Keys listed per merchant at most, the newest.
pub const KEYS_LISTED_MAX: u32 = 1_000;
/// Least time between two notes of a key's use.
pub const KEY_USE_EVERY: Duration = Duration::from_mins(1);

/// Declined payments of a merchant, as a process that accepts orders has counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardTestingFacts {
    /// Begin of the span that was counted.
    pub since: Timestamp,
    /// Payments that ended in it, captured or declined.
    pub payments: u64,
    /// Of these, the declined ones.
    pub declined: u64,
}

/// Longest time in which a merchant is told of declined payments once.
pub const CARD_TESTING_TOLD_EVERY: Duration = Duration::from_hours(1);

/// Id of the event that tells a merchant of declined payments at `at`: one for each full hour, so that several
/// processes tell it once. With the time of the hour, which is within the month of `at`.
pub fn card_testing_event(merchant: MerchantId, at: Timestamp) -> EventId {
    let hour = i64::try_from(CARD_TESTING_TOLD_EVERY.as_secs()).unwrap_or(i64::MAX);
    let begin = at.as_second() - at.as_second().rem_euclid(hour);
    let begin = Timestamp::from_second(begin).unwrap_or(at);
    EventId::derived(ids::floor(begin), &format!("card testing of {merchant}"))
}

/// Merchants and API keys.
#[async_trait]
pub trait Merchants: Send + Sync + 'static {
    /// Creates the merchant unless it exists; false when it existed.
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool>;

    /// Creates the key unless its merchant has it; false when it existed. A revoked key stays revoked.
    async fn create_key(&self, key: NewKey, at: Timestamp) -> Result<bool>;

    /// [`Merchants::create_key`] without label and prefix.
    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool> {
        self.create_key(NewKey { record: key.clone(), hash, label: None, prefix: None }, at).await
    }

    /// The key with this hash, with its merchant and rights; `None` once it is revoked.
    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>>;

    /// The keys of a merchant, newest first, revoked ones too; [`KEYS_LISTED_MAX`] at most.
    async fn keys(&self, merchant: MerchantId) -> Result<Vec<StoredKey>>;

    /// Revokes a key, for good; `None` when there is no such key. The time of the first revocation stays.
    async fn revoke_key(&self, id: KeyId, at: Timestamp) -> Result<Option<StoredKey>>;

    /// Notes that a key was used, unless a use within [`KEY_USE_EVERY`] is noted.
    async fn note_key_use(&self, key: &KeyRecord, at: Timestamp) -> Result<()>;

    /// Writes `card_testing.suspected`, once for each full hour of `at`; false when it is written already, or there is
    /// no such merchant.
    async fn tell_card_testing(
        &self,
        merchant: MerchantId,
        facts: CardTestingFacts,
        at: Timestamp,
    ) -> Result<bool>;

    /// A merchant.
    async fn merchant(&self, id: MerchantId) -> Result<Option<MerchantRecord>>;

    /// Merchants in the order of their ids, after this one.
    async fn merchants(&self, after: Option<MerchantId>, limit: u32) -> Result<Vec<MerchantRecord>>;

    /// The merchant's choices for its checkout; `None` when there is no such merchant.
    async fn checkout_settings(&self, id: MerchantId) -> Result<Option<CheckoutSettings>>;

    /// Replaces them; false when there is no such merchant.
    async fn set_checkout_settings(&self, id: MerchantId, settings: &CheckoutSettings) -> Result<bool>;

    /// The merchant's display name, for mails.
    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>> {
        Ok(self.merchant(id).await?.map(|merchant| merchant.name))
    }
}
