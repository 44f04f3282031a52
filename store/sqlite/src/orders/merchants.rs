//! [`Merchants`]: merchants and their API keys.

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::MerchantId,
    error::StoreError,
    merchants::{KeyHash, KeyRecord, Merchants},
    rules::texts,
};

use super::{
    SqliteOrders,
    fault::{SqliteFault, get, parsed},
};

#[async_trait]
impl Merchants for SqliteOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        let name = name.to_owned();
        let unit = self.database.write(move |c| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO merchants (id, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )
                .bind(id.to_string())
                .bind(name)
                .bind(at.as_millisecond())
                .execute(c)
                .await?;
                Ok::<_, SqliteFault>(done.rows_affected() > 0)
            })
        });
        Ok(unit.await?)
    }

    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool, StoreError> {
        let key = key.clone();
        let unit = self.database.write(move |c| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO api_keys (hash, id, merchant_id, scope, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO NOTHING",
                )
                .bind(hash.to_vec())
                .bind(key.id.to_string())
                .bind(key.merchant.to_string())
                .bind(texts::of_scope(key.scope))
                .bind(at.as_millisecond())
                .execute(&mut *c)
                .await?;
                if done.rows_affected() > 0 {
                    return Ok(true);
                }
                let query = sqlx::query_scalar("SELECT merchant_id FROM api_keys WHERE hash = ?1");
                let owner: Option<String> = query.bind(hash.to_vec()).fetch_optional(c).await?;
                if owner.is_some_and(|owner| owner == key.merchant.to_string()) {
                    return Ok(false);
                }
                Err(SqliteFault::corrupt(format!("key {} is taken by another merchant or another secret", key.id)))
            })
        });
        Ok(unit.await?)
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        let row = sqlx::query("SELECT id, merchant_id, scope FROM api_keys WHERE hash = ?1")
            .bind(hash.to_vec())
            .fetch_optional(self.database.readers())
            .await
            .map_err(SqliteFault::from)?;
        let Some(row) = row else { return Ok(None) };
        let scope = texts::scope(get(&row, "scope")?)?;
        Ok(Some(KeyRecord { id: parsed(&row, "id")?, merchant: parsed(&row, "merchant_id")?, scope }))
    }

    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar("SELECT name FROM merchants WHERE id = ?1").bind(id.to_string());
        Ok(query.fetch_optional(self.database.readers()).await.map_err(SqliteFault::from)?)
    }
}
