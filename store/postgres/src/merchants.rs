//! [`Merchants`]: merchants and their API keys.

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::MerchantId,
    error::StoreError,
    merchants::{KeyHash, KeyRecord, Merchants},
};

use super::{PostgresOrders, fault::PostgresFault, router::ReadMode, row::get, timestamps::Moment};

const INSERT_KEY: &str = "
    INSERT INTO api_keys (hash, id, merchant_id, scope, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING";

#[async_trait]
impl Merchants for PostgresOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        let sql = "INSERT INTO merchants (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let Some(database) = self.router.home_of_new(id).await? else { return Ok(false) };
        Ok(database.run(sqlx::query(sql).bind(id.0).bind(name).bind(Moment(at))).await? > 0)
    }

    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool, StoreError> {
        // A shard can tell only for itself that the secret is taken.
        if self.router.key(hash).await?.is_some_and(|found| found.merchant != key.merchant) {
            return Err(taken(key).into());
        }
        let query = || {
            sqlx::query(INSERT_KEY)
                .bind(hash.to_vec())
                .bind(key.id.0)
                .bind(key.merchant.0)
                .bind(key.scope.as_str())
                .bind(Moment(at))
        };
        if self.router.run(key.merchant, query).await? > 0 {
            return Ok(true);
        }
        match self.router.key(hash).await? {
            Some(found) if found.merchant == key.merchant => Ok(false),
            _ => Err(taken(key).into()),
        }
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.router.key(hash).await?)
    }

    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError> {
        let query = || sqlx::query("SELECT name FROM merchants WHERE id = $1").bind(id.0);
        Ok(self.router.row(id, ReadMode::Primary, query, |row| get(row, "name")).await?)
    }
}

fn taken(key: &KeyRecord) -> PostgresFault {
    PostgresFault::Corrupt(format!("key {} is taken by another merchant or another secret", key.id))
}
