//! Merchants and their API keys. Only hashes of keys are stored: they have 128 random bits and more, so a plain
//! SHA-256 is enough and a slow password hash would only slow every request down.

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{KeyId, MerchantId},
    error::StoreError,
};

/// SHA-256 of a whole key.
pub type KeyHash = [u8; 32];

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// `owk_pub_…`: catalog, carts, orders.
    Publishable,
    /// `owk_sec_…`: everything of the merchant.
    Secret,
}

/// A key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id, what logs may show.
    pub id: KeyId,
    /// Whose it is.
    pub merchant: MerchantId,
    /// What it may do.
    pub scope: KeyScope,
}

/// Keeps merchants and keys.
#[async_trait]
pub trait Merchants: Send + Sync + 'static {
    /// Makes sure the merchant exists; answers false when it did already.
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Makes sure this key exists and belongs to the merchant; answers false when it did already.
    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool, StoreError>;

    /// Who holds the key with this hash.
    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError>;

    /// The merchant's display name, for mails.
    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError>;
}
