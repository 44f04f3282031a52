//! Words of products that were stored before this release's rules of searching; added when the file is opened.

use base::sqlite::{Database, Query};
use sqlx::sqlite::SqliteRow;
use store::rules::{columns::Columns, search::ProductWords};

use super::fault::{Result, SqliteFault, to_json};

/// Products that get their words in one transaction.
const BATCH: i64 = 500;

const WITHOUT: &str = "
    SELECT merchant_id, sku, name FROM products WHERE search_words IS NULL ORDER BY merchant_id, sku LIMIT ?1";
const SET: &str = "UPDATE products SET search_words = ?3 WHERE merchant_id = ?1 AND sku = ?2";
const ADD: &str = "
    INSERT INTO product_words (merchant_id, word, sku) SELECT ?1, value, ?2 FROM json_each(?3) WHERE true
    ON CONFLICT DO NOTHING";

/// Gives their words to all products that have none yet.
pub(super) async fn add(database: &Database) -> Result<()> {
    while fill_batch(database).await? {}
    Ok(())
}

/// Gives their words to a batch of products; false when none is left.
async fn fill_batch(database: &Database) -> Result<bool> {
    let filled = database.write(|connection| {
        Box::pin(async move {
            let rows = sqlx::query(WITHOUT).bind(BATCH).fetch_all(&mut *connection).await?;
            let missing = rows.iter().map(named).collect::<Result<Vec<_>>>()?;
            let is_filled = !missing.is_empty();
            for (merchant, sku, name) in missing {
                let words = ProductWords::of(&name, &sku);
                let added = to_json(&words.changes_from(&ProductWords::default()).added)?;
                let set = of_product(SET, merchant.clone(), sku.clone()).bind(words.text());
                set.execute(&mut *connection).await?;
                of_product(ADD, merchant, sku).bind(added).execute(&mut *connection).await?;
            }
            Ok::<_, SqliteFault>(is_filled)
        })
    });
    filled.await
}

/// Merchant, sku and name of a product.
fn named(row: &SqliteRow) -> Result<(String, String, String)> {
    Ok((row.text("merchant_id")?, row.text("sku")?, row.text("name")?))
}

/// Binds `?1` and `?2`.
fn of_product(sql: &'static str, merchant: String, sku: String) -> Query<'static> {
    sqlx::query(sql).bind(merchant).bind(sku)
}
