//! [`Merchants`]: merchants and their API keys.

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::MerchantId,
    error::StoreError,
    merchants::{KeyHash, KeyRecord, Merchants},
    rules::{columns::Columns, rows},
};

use super::{SqliteOrders, fault::SqliteFault};

const INSERT: &str =
    "INSERT INTO merchants (id, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const INSERT_KEY: &str = "
    INSERT INTO api_keys (hash, id, merchant_id, scope, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO NOTHING";
const KEY: &str = "SELECT id, merchant_id, scope FROM api_keys WHERE hash = ?1";
const NAME: &str = "SELECT name FROM merchants WHERE id = ?1";

#[async_trait]
impl Merchants for SqliteOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(INSERT).bind(id.to_string()).bind(name).bind(at.as_millisecond());
        Ok(self.run(query).await? > 0)
    }

    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(INSERT_KEY)
            .bind(hash.to_vec())
            .bind(key.id.to_string())
            .bind(key.merchant.to_string())
            .bind(key.scope.as_str())
            .bind(at.as_millisecond());
        if self.run(query).await? > 0 {
            return Ok(true);
        }
        match self.key_by_hash(hash).await? {
            Some(known) if known.merchant == key.merchant => Ok(false),
            _ => {
                let taken = format!("key {} is taken by another merchant or another secret", key.id);
                Err(SqliteFault::corrupt(taken).into())
            }
        }
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        self.first(sqlx::query(KEY).bind(hash.to_vec()), rows::key).await
    }

    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError> {
        self.first(sqlx::query(NAME).bind(id.to_string()), |row| row.text("name")).await
    }
}
