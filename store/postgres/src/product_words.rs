//! The index of products by word: changed with each product, and filled for products of earlier releases.

use base::{ids::Uuid, postgres::Query};
use sqlx::postgres::PgRow;
use store::{
    domain::MerchantId,
    rules::{
        columns::Columns,
        search::{ProductWords, WordChanges},
    },
};

use super::{
    database::OrderDatabase,
    fault::Result,
    row::{column, get},
    transaction::Unit,
};

/// Products that get their words in one transaction, so that orders for them wait for a moment only.
const BATCH: i64 = 200;

pub(super) const ADD: &str = "
    INSERT INTO product_words (merchant_id, word, sku) SELECT $1, word, $2 FROM unnest($3::text[]) AS added (word)
    ON CONFLICT DO NOTHING";
pub(super) const REMOVE: &str = r#"
    DELETE FROM product_words AS p USING unnest($3::text[]) AS removed (word)
    WHERE p.merchant_id = $1 AND p.sku = $2 AND p.word = removed.word COLLATE "C""#;
pub(super) const WITHOUT: &str = "
    SELECT merchant_id, sku, name FROM products WHERE search_words IS NULL ORDER BY merchant_id, sku LIMIT $1";
/// A product that was renamed meanwhile keeps what it got with its new name.
pub(super) const FILL: &str = r#"
    WITH filled AS (
        UPDATE products AS p SET search_words = given.words
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS given (merchant_id, sku, name, words)
        WHERE p.merchant_id = given.merchant_id AND p.sku = given.sku COLLATE "C" AND p.name = given.name
            AND p.search_words IS NULL
        RETURNING p.merchant_id, p.sku, p.search_words)
    INSERT INTO product_words (merchant_id, word, sku)
    SELECT filled.merchant_id, added.word, filled.sku
    FROM filled CROSS JOIN LATERAL unnest(string_to_array(btrim(filled.search_words), ' ')) AS added (word)
    ON CONFLICT DO NOTHING"#;

/// A product without words.
struct NamedProduct {
    merchant: Uuid,
    sku: String,
    name: String,
}

/// Gives their words to all products of a database that have none yet.
pub(super) async fn add_missing(database: &OrderDatabase) -> Result<()> {
    loop {
        let rows = database.reads().rows(sqlx::query(WITHOUT).bind(BATCH)).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let products = rows.iter().map(named).collect::<Result<Vec<_>>>()?;
        database.write(&products, |unit, products| Box::pin(fill(unit, products))).await?;
    }
}

fn named(row: &PgRow) -> Result<NamedProduct> {
    Ok(NamedProduct { merchant: get(row, "merchant_id")?, sku: row.text("sku")?, name: row.text("name")? })
}

async fn fill(unit: &mut Unit, products: &[NamedProduct]) -> Result<()> {
    let words = column(products, |product| ProductWords::of(&product.name, &product.sku).text());
    let query = sqlx::query(FILL)
        .bind(column(products, |product| product.merchant))
        .bind(column(products, |product| product.sku.as_str()))
        .bind(column(products, |product| product.name.as_str()))
        .bind(words);
    unit.run(query).await?;
    Ok(())
}

/// Changes the rows of a product's words.
pub(super) async fn change(
    unit: &mut Unit,
    merchant: MerchantId,
    sku: &str,
    changes: &WordChanges,
) -> Result<()> {
    for (sql, words) in [(REMOVE, &changes.removed), (ADD, &changes.added)] {
        if !words.is_empty() {
            unit.run(of_product(sql, merchant, sku).bind(words.as_slice())).await?;
        }
    }
    Ok(())
}

/// Binds `$1` and `$2`.
fn of_product<'q>(sql: &'static str, merchant: MerchantId, sku: &'q str) -> Query<'q> {
    sqlx::query(sql).bind(merchant.0).bind(sku)
}
