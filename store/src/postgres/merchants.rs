//! [`Merchants`]: merchants and their API keys.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid};
use sqlx::postgres::PgRow;

use super::{
    PostgresOrders,
    fault::PostgresFault,
    row::{get, id},
    timestamps::Moment,
    transaction::Unit,
};
use crate::{
    domain::{KeyId, MerchantId},
    error::StoreError,
    merchants::{KeyHash, KeyRecord, Merchants},
    rules::texts,
};

const KEY_BY_HASH: &str = "SELECT id, merchant_id, scope FROM api_keys WHERE hash = $1";

#[async_trait]
impl Merchants for PostgresOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        let sql = "INSERT INTO merchants (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        Ok(self.run(sqlx::query(sql).bind(id.0).bind(name).bind(Moment(at))).await? > 0)
    }

    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool, StoreError> {
        let ensured =
            self.write((key, hash, at), |unit, (key, hash, at)| Box::pin(ensure_key(unit, key, *hash, *at)));
        Ok(ensured.await?)
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        let row = self.row(sqlx::query(KEY_BY_HASH).bind(hash.to_vec())).await?;
        Ok(row.as_ref().map(key).transpose()?)
    }

    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError> {
        let row = self.row(sqlx::query("SELECT name FROM merchants WHERE id = $1").bind(id.0)).await?;
        Ok(row.map(|row| get(&row, "name")).transpose()?)
    }
}

/// Reads `id`, `merchant_id` and `scope`.
pub(super) fn key(row: &PgRow) -> Result<KeyRecord, PostgresFault> {
    let scope = texts::scope(get(row, "scope")?)?;
    Ok(KeyRecord { id: id(row, "id", KeyId)?, merchant: id(row, "merchant_id", MerchantId)?, scope })
}

async fn ensure_key(
    unit: &mut Unit,
    key: &KeyRecord,
    hash: KeyHash,
    at: Timestamp,
) -> Result<bool, PostgresFault> {
    let query = sqlx::query(
        "INSERT INTO api_keys (hash, id, merchant_id, scope, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind(hash.to_vec())
    .bind(key.id.0)
    .bind(key.merchant.0)
    .bind(texts::of_scope(key.scope))
    .bind(Moment(at));
    if unit.run(query).await? > 0 {
        return Ok(true);
    }
    let found = unit.row(sqlx::query(KEY_BY_HASH).bind(hash.to_vec())).await?;
    let owner = found.map(|row| get::<Uuid>(&row, "merchant_id")).transpose()?;
    if owner == Some(key.merchant.0) {
        return Ok(false);
    }
    Err(PostgresFault::Corrupt(format!("key {} is taken by another merchant or another secret", key.id)))
}
