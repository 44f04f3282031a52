//! Merchants and their API keys. Only hashes of keys are stored: a key has at least 128 random bits, so SHA-256 is
//! enough, and a slow password hash would only delay every request.

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{KeyId, MerchantId},
    error::StoreError,
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
    /// The merchant the key acts for.
    pub merchant: MerchantId,
    /// The rights of the key.
    pub scope: KeyScope,
}

/// Merchants and API keys.
#[async_trait]
pub trait Merchants: Send + Sync + 'static {
    /// Creates the merchant unless it exists; false when it existed.
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Creates the key unless it exists; false when it existed.
    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool, StoreError>;

    /// The key with this hash, with its merchant and rights.
    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError>;

    /// The merchant's display name, for mails.
    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError>;
}
