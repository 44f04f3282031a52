//! The index of products by word, changed with each product. [`super::missing_words`] fills it for older products.

use base::sqlite::Query;
use store::{domain::MerchantId, rules::search::WordChanges};

use super::{
    fault::{Result, to_json},
    transaction::Unit,
};

const ADD: &str = "
    INSERT INTO product_words (merchant_id, word, sku) SELECT ?1, value, ?2 FROM json_each(?3) WHERE true
    ON CONFLICT DO NOTHING";
pub(super) const REMOVE: &str = "
    DELETE FROM product_words WHERE merchant_id = ?1 AND word IN (SELECT value FROM json_each(?3)) AND sku = ?2";

/// Changes the rows of a product's words.
pub(super) async fn change(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    sku: &str,
    changes: &WordChanges,
) -> Result<()> {
    for (sql, words) in [(REMOVE, &changes.removed), (ADD, &changes.added)] {
        if !words.is_empty() {
            unit.run(of_product(sql, merchant, sku).bind(to_json(words)?)).await?;
        }
    }
    Ok(())
}

/// Binds `?1` and `?2`.
fn of_product(sql: &'static str, merchant: MerchantId, sku: &str) -> Query<'static> {
    sqlx::query(sql).bind(merchant.to_string()).bind(sku.to_owned())
}
