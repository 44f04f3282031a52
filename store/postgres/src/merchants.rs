//! [`Merchants`]: merchants and their API keys.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid, postgres::Database};
use sqlx::postgres::PgRow;
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
    PostgresOrders,
    fault::{self, PostgresFault},
    outbox::KNOWN,
    router::ReadMode,
    row::to_json,
    timestamps::Moment,
    transaction::Unit,
    webhooks::LOCK_MERCHANT,
};

const INSERT_KEY: &str = "
    INSERT INTO api_keys (hash, id, merchant_id, scope, label, prefix, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT DO NOTHING";
const KEYS: &str = "
    SELECT id, merchant_id, scope, label, prefix, created_at, last_used_at, revoked_at FROM api_keys
    WHERE merchant_id = $1 ORDER BY id DESC LIMIT $2";
const KEY_BY_ID: &str = "
    SELECT id, merchant_id, scope, label, prefix, created_at, last_used_at, revoked_at FROM api_keys WHERE id = $1";
const REVOKE: &str = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
const NOTE_USE: &str = "
    UPDATE api_keys SET last_used_at = $2
    WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $2 - make_interval(secs => $3))";
const MERCHANT: &str = "SELECT id, name, created_at FROM merchants WHERE id = $1";
const CHECKOUT: &str = "SELECT checkout::text AS checkout FROM merchants WHERE id = $1";
const SET_CHECKOUT: &str = "UPDATE merchants SET checkout = $2::json WHERE id = $1";
/// Copies that a migration made or left are not listed.
const MERCHANTS: &str = "
    SELECT id, name, created_at FROM merchants WHERE id > $1 AND state IN ('active', 'moving') ORDER BY id LIMIT $2";

#[async_trait]
impl Merchants for PostgresOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool> {
        let sql = "INSERT INTO merchants (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let Some(database) = self.router.home_of_new(id).await? else { return Ok(false) };
        Ok(database.run(sqlx::query(sql).bind(id.0).bind(name).bind(Moment(at))).await? > 0)
    }

    async fn create_key(&self, key: NewKey, at: Timestamp) -> Result<bool> {
        let NewKey { record, hash, label, prefix } = &key;
        // A shard can tell only for itself that the secret is taken.
        if self.router.key(*hash).await?.is_some_and(|found| found.record.merchant != record.merchant) {
            return Err(taken(record).into());
        }
        let query = || {
            sqlx::query(INSERT_KEY)
                .bind(hash.to_vec())
                .bind(record.id.0)
                .bind(record.merchant.0)
                .bind(record.scope.as_str())
                .bind(label.clone())
                .bind(prefix.clone())
                .bind(Moment(at))
        };
        if self.router.run(record.merchant, query).await? > 0 {
            return Ok(true);
        }
        match self.router.key(*hash).await? {
            Some(found) if found.record.merchant == record.merchant => Ok(false),
            _ => Err(taken(record).into()),
        }
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>> {
        Ok(self.router.key(hash).await?.and_then(StoredKey::live))
    }

    async fn keys(&self, merchant: MerchantId) -> Result<Vec<StoredKey>> {
        let query = || sqlx::query(KEYS).bind(merchant.0).bind(i64::from(KEYS_LISTED_MAX));
        Ok(self.router.rows(merchant, ReadMode::Primary, query, rows::key).await?)
    }

    async fn revoke_key(&self, id: KeyId, at: Timestamp) -> Result<Option<StoredKey>> {
        // The merchant of a key never changes, so a copy that a migration left names it as well.
        let find = |database: Database| async move {
            Ok::<_, PostgresFault>(database.row(sqlx::query(KEY_BY_ID).bind(id.0)).await?)
        };
        let Some(found) = self.router.pages(find).await?.into_iter().flatten().next() else {
            return Ok(None);
        };
        let merchant = rows::key::<PostgresFault>(&found)?.record.merchant;
        self.router.run(merchant, || sqlx::query(REVOKE).bind(id.0).bind(Moment(at))).await?;
        let query = || sqlx::query(KEY_BY_ID).bind(id.0);
        Ok(self.router.row(merchant, ReadMode::Primary, query, rows::key).await?)
    }

    async fn note_key_use(&self, key: &KeyRecord, at: Timestamp) -> Result<()> {
        let every = KEY_USE_EVERY.as_secs_f64();
        let query = || sqlx::query(NOTE_USE).bind(key.id.0).bind(Moment(at)).bind(every);
        self.router.run(key.merchant, query).await?;
        Ok(())
    }

    async fn tell_card_testing(
        &self,
        merchant: MerchantId,
        facts: CardTestingFacts,
        at: Timestamp,
    ) -> Result<bool> {
        let told = self.router.write(merchant, (merchant, facts, at), |unit, (merchant, facts, at)| {
            Box::pin(tell_card_testing(unit, *merchant, facts, *at))
        });
        Ok(told.await?)
    }

    async fn merchant(&self, id: MerchantId) -> Result<Option<MerchantRecord>> {
        let query = || sqlx::query(MERCHANT).bind(id.0);
        Ok(self.router.row(id, ReadMode::Primary, query, rows::merchant).await?)
    }

    async fn merchants(&self, after: Option<MerchantId>, limit: u32) -> Result<Vec<MerchantRecord>> {
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let page = |database: Database| async move {
            let query = sqlx::query(MERCHANTS).bind(after).bind(i64::from(limit));
            database.rows(query).await?.iter().map(rows::merchant).collect::<Result<Vec<_>, PostgresFault>>()
        };
        let mut found: Vec<_> = self.router.pages(page).await?.into_iter().flatten().collect();
        found.sort_by_key(|merchant| merchant.id);
        found.dedup_by_key(|merchant| merchant.id);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn checkout_settings(&self, id: MerchantId) -> Result<Option<CheckoutSettings>> {
        let query = || sqlx::query(CHECKOUT).bind(id.0);
        Ok(self.router.row(id, ReadMode::Primary, query, checkout).await?)
    }

    async fn set_checkout_settings(&self, id: MerchantId, settings: &CheckoutSettings) -> Result<bool> {
        let settings = to_json(settings)?;
        let query = || sqlx::query(SET_CHECKOUT).bind(id.0).bind(settings.clone());
        Ok(self.router.run(id, query).await? > 0)
    }
}

fn checkout(row: &PgRow) -> fault::Result<CheckoutSettings> {
    Ok(row.json_if_any("checkout")?.unwrap_or_default())
}

/// Reading first is safe under the lock of the merchant.
async fn tell_card_testing(
    unit: &mut Unit,
    merchant: MerchantId,
    facts: &CardTestingFacts,
    at: Timestamp,
) -> fault::Result<bool> {
    let there = unit.row(sqlx::query(LOCK_MERCHANT).bind(merchant.0)).await?.is_some();
    let id = card_testing_event(merchant, at);
    if !there || unit.row(sqlx::query(KNOWN).bind(id.0)).await?.is_some() {
        return Ok(false);
    }
    unit.messages(at).card_testing(merchant, facts);
    Ok(true)
}

fn taken(key: &KeyRecord) -> PostgresFault {
    PostgresFault::Corrupt(format!("key {} is taken by another merchant or another secret", key.id))
}
