//! [`Merchants`]: merchants and their API keys.

use async_trait::async_trait;
use base::Timestamp;
use store::{
    checkout::CheckoutSettings,
    domain::{KeyId, MerchantId},
    error::Result,
    merchants::{
        CardTestingFacts, KEY_USE_EVERY, KEYS_LISTED_MAX, KeyHash, KeyRecord, MerchantRecord, Merchants,
        NewKey, StoredKey, card_testing_event,
    },
    rules::{columns::Columns, rows},
};

use super::{
    SqliteOrders,
    fault::{SqliteFault, to_json},
    transaction::Unit,
};

const INSERT: &str =
    "INSERT INTO merchants (id, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const INSERT_KEY: &str = "
    INSERT INTO api_keys (hash, id, merchant_id, scope, label, prefix, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT DO NOTHING";
const KEY: &str = "
    SELECT id, merchant_id, scope, label, prefix, created_at, last_used_at, revoked_at FROM api_keys WHERE hash = ?1";
const KEY_BY_ID: &str = "
    SELECT id, merchant_id, scope, label, prefix, created_at, last_used_at, revoked_at FROM api_keys WHERE id = ?1";
const KEYS: &str = "
    SELECT id, merchant_id, scope, label, prefix, created_at, last_used_at, revoked_at FROM api_keys
    WHERE merchant_id = ?1 ORDER BY id DESC LIMIT ?2";
const REVOKE: &str = "UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
const NOTE_USE: &str = "
    UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?2 - ?3)";
const MERCHANT: &str = "SELECT id, name, created_at FROM merchants WHERE id = ?1";
const CHECKOUT: &str = "SELECT checkout FROM merchants WHERE id = ?1";
const SET_CHECKOUT: &str = "UPDATE merchants SET checkout = ?2 WHERE id = ?1";
const MERCHANTS: &str = "SELECT id, name, created_at FROM merchants WHERE id > ?1 ORDER BY id LIMIT ?2";

#[async_trait]
impl Merchants for SqliteOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool> {
        let query = sqlx::query(INSERT).bind(id.to_string()).bind(name).bind(at.as_millisecond());
        Ok(self.run(query).await? > 0)
    }

    async fn create_key(&self, key: NewKey, at: Timestamp) -> Result<bool> {
        let NewKey { record, hash, label, prefix } = key;
        let query = sqlx::query(INSERT_KEY)
            .bind(hash.to_vec())
            .bind(record.id.to_string())
            .bind(record.merchant.to_string())
            .bind(record.scope.as_str())
            .bind(label)
            .bind(prefix)
            .bind(at.as_millisecond());
        if self.run(query).await? > 0 {
            return Ok(true);
        }
        match self.first(sqlx::query(KEY).bind(hash.to_vec()), rows::key).await? {
            Some(known) if known.record.merchant == record.merchant => Ok(false),
            _ => {
                let taken = format!("key {} is taken by another merchant or another secret", record.id);
                Err(SqliteFault::corrupt(taken).into())
            }
        }
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>> {
        let found = self.first(sqlx::query(KEY).bind(hash.to_vec()), rows::key).await?;
        Ok(found.and_then(StoredKey::live))
    }

    async fn keys(&self, merchant: MerchantId) -> Result<Vec<StoredKey>> {
        let query = sqlx::query(KEYS).bind(merchant.to_string()).bind(i64::from(KEYS_LISTED_MAX));
        self.all(query, rows::key).await
    }

    async fn revoke_key(&self, id: KeyId, at: Timestamp) -> Result<Option<StoredKey>> {
        self.run(sqlx::query(REVOKE).bind(id.to_string()).bind(at.as_millisecond())).await?;
        self.first(sqlx::query(KEY_BY_ID).bind(id.to_string()), rows::key).await
    }

    async fn note_key_use(&self, key: &KeyRecord, at: Timestamp) -> Result<()> {
        let every = i64::try_from(KEY_USE_EVERY.as_millis()).unwrap_or(i64::MAX);
        let query = sqlx::query(NOTE_USE).bind(key.id.to_string()).bind(at.as_millisecond()).bind(every);
        self.run(query).await.map(drop)
    }

    async fn tell_card_testing(
        &self,
        merchant: MerchantId,
        facts: CardTestingFacts,
        at: Timestamp,
    ) -> Result<bool> {
        Ok(self.write(at, move |unit| Box::pin(tell_card_testing(unit, merchant, facts))).await?)
    }

    async fn merchant(&self, id: MerchantId) -> Result<Option<MerchantRecord>> {
        self.first(sqlx::query(MERCHANT).bind(id.to_string()), rows::merchant).await
    }

    async fn merchants(&self, after: Option<MerchantId>, limit: u32) -> Result<Vec<MerchantRecord>> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.all(sqlx::query(MERCHANTS).bind(after).bind(i64::from(limit)), rows::merchant).await
    }

    async fn checkout_settings(&self, id: MerchantId) -> Result<Option<CheckoutSettings>> {
        let query = sqlx::query(CHECKOUT).bind(id.to_string());
        self.first(query, |row| Ok(row.json_if_any("checkout")?.unwrap_or_default())).await
    }

    async fn set_checkout_settings(&self, id: MerchantId, settings: &CheckoutSettings) -> Result<bool> {
        let query = sqlx::query(SET_CHECKOUT).bind(id.to_string()).bind(to_json(settings)?);
        Ok(self.run(query).await? > 0)
    }
}

/// Reading first is safe: units run one after another.
async fn tell_card_testing(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    facts: CardTestingFacts,
) -> Result<bool, SqliteFault> {
    let id = card_testing_event(merchant, unit.messages.at);
    let known = sqlx::query("SELECT 1 FROM outbox WHERE id = ?1").bind(id.to_string());
    let there = sqlx::query(MERCHANT).bind(merchant.to_string());
    if unit.row(known).await?.is_some() || unit.row(there).await?.is_none() {
        return Ok(false);
    }
    unit.messages.card_testing(merchant, &facts);
    Ok(true)
}
