//! Rows of API keys.

use base::postgres::Database;
use store::{
    merchants::{KeyHash, KeyRecord},
    rules::rows,
};

use super::fault::PostgresFault;

const BY_HASH: &str = "SELECT id, merchant_id, scope FROM api_keys WHERE hash = $1";

pub(super) async fn by_hash(database: &Database, hash: KeyHash) -> Result<Option<KeyRecord>, PostgresFault> {
    let row = database.row(sqlx::query(BY_HASH).bind(hash.to_vec())).await?;
    row.as_ref().map(rows::key).transpose()
}
