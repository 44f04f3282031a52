//! Rows of API keys.

use base::postgres::Database;
use sqlx::postgres::PgRow;
use store::{
    domain::{KeyId, MerchantId},
    merchants::{KeyHash, KeyRecord},
    rules::texts,
};

use super::{
    fault::PostgresFault,
    row::{get, id},
};

pub(super) const BY_HASH: &str = "SELECT id, merchant_id, scope FROM api_keys WHERE hash = $1";

/// Reads `id`, `merchant_id` and `scope`.
pub(super) fn key(row: &PgRow) -> Result<KeyRecord, PostgresFault> {
    let scope = texts::scope(get(row, "scope")?)?;
    Ok(KeyRecord { id: id(row, "id", KeyId)?, merchant: id(row, "merchant_id", MerchantId)?, scope })
}

pub(super) async fn by_hash(database: &Database, hash: KeyHash) -> Result<Option<KeyRecord>, PostgresFault> {
    let row = database.row(sqlx::query(BY_HASH).bind(hash.to_vec())).await?;
    row.as_ref().map(key).transpose()
}
