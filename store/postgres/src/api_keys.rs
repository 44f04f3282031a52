//! Rows of API keys.

use base::postgres::Database;
use sqlx::postgres::PgRow;
use store::{
    domain::{KeyId, MerchantId},
    merchants::{KeyHash, KeyRecord},
};

use super::{
    fault::PostgresFault,
    row::{id, parsed},
};

pub(super) const BY_HASH: &str = "SELECT id, merchant_id, scope FROM api_keys WHERE hash = $1";

/// Reads `id`, `merchant_id` and `scope`.
pub(super) fn key(row: &PgRow) -> Result<KeyRecord, PostgresFault> {
    let (id, merchant) = (id(row, "id", KeyId)?, id(row, "merchant_id", MerchantId)?);
    Ok(KeyRecord { id, merchant, scope: parsed(row, "scope")? })
}

pub(super) async fn by_hash(database: &Database, hash: KeyHash) -> Result<Option<KeyRecord>, PostgresFault> {
    let row = database.row(sqlx::query(BY_HASH).bind(hash.to_vec())).await?;
    row.as_ref().map(key).transpose()
}
