//! [`Catalog`]: products and stock; lists are in [`super::product_lists`].

use async_trait::async_trait;
use base::{Timestamp, TraceContext, postgres::Query};
use store::{
    catalog::{
        CATEGORY_PRODUCTS_MAX, Catalog, Category, InventoryPut, Product, ProductCursor, ProductData,
        ProductFacets, ProductFilter, ProductSort,
    },
    domain::{MerchantId, Page, PageRequest},
    error::Result,
    rules::{columns::Columns, rows, search::ProductWords},
};

use super::{
    PostgresOrders, fault::PostgresFault, product_words, router::ReadMode, timestamps::Moment,
    transaction::Unit,
};

macro_rules! columns {
    () => {
        "sku, name, description, category, price_minor, currency, on_hand, reserved, low_stock_at, event_sequence, \
         updated_at"
    };
}

pub(super) const ONE: &str = select!(" FROM products WHERE merchant_id = $1 AND sku = $2");
// Each category is found after the one before it, by the index: no statement reads all products of a merchant.
pub(super) const CATEGORIES: &str = "
    WITH RECURSIVE slugs (category, position) AS (
        SELECT (SELECT category FROM products WHERE merchant_id = $1 ORDER BY category LIMIT 1), 1
        UNION ALL
        SELECT (SELECT category FROM products WHERE merchant_id = $1 AND category > slugs.category
            ORDER BY category LIMIT 1), position + 1
        FROM slugs WHERE category IS NOT NULL AND position < 1000)
    SELECT category, (SELECT count(*) FROM (
        SELECT 1 FROM products WHERE merchant_id = $1 AND category = slugs.category LIMIT $2) AS counted) AS products
    FROM slugs WHERE category IS NOT NULL ORDER BY category";
const LOCKED: &str = select!(" FROM products WHERE merchant_id = $1 AND sku = $2 FOR NO KEY UPDATE");
const FORMER_WORDS: &str =
    "SELECT search_words FROM products WHERE merchant_id = $1 AND sku = $2 FOR NO KEY UPDATE";
const SET_STOCK: &str = concat!(
    "UPDATE products SET on_hand = $3, event_sequence = event_sequence + $4, updated_at = $5
     WHERE merchant_id = $1 AND sku = $2 AND reserved <= $3 RETURNING ",
    columns!()
);
const UPDATE: &str = concat!(
    "UPDATE products SET name = $3, description = $4, category = $5, price_minor = $6, currency = $7,
         low_stock_at = $8, updated_at = $9, search_words = $10
     WHERE merchant_id = $1 AND sku = $2 RETURNING ",
    columns!()
);
const INSERT: &str = concat!(
    "INSERT INTO products (merchant_id, sku, name, description, category, price_minor, currency, low_stock_at,
         updated_at, search_words)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING ",
    columns!()
);

#[async_trait]
impl Catalog for PostgresOrders {
    async fn put_product(
        &self,
        merchant: MerchantId,
        product: ProductData,
        at: Timestamp,
    ) -> Result<(Product, bool)> {
        let put = self.router.write(merchant, (merchant, product, at), |unit, (merchant, product, at)| {
            Box::pin(put(unit, *merchant, product, *at))
        });
        Ok(put.await?)
    }

    async fn put_inventory(
        &self,
        merchant: MerchantId,
        sku: &str,
        on_hand: i64,
        at: Timestamp,
        trace: Option<TraceContext>,
    ) -> Result<InventoryPut> {
        let facts = ((merchant, sku), on_hand, at, trace);
        let put = self.router.write(merchant, facts, |unit, (product, on_hand, at, trace)| {
            Box::pin(set_stock(unit, *product, *on_hand, *at, trace.clone()))
        });
        Ok(put.await?)
    }

    async fn product(&self, merchant: MerchantId, sku: &str) -> Result<Option<Product>> {
        let query = || sqlx::query(ONE).bind(merchant.0).bind(sku);
        Ok(self.router.row(merchant, ReadMode::Replica, query, rows::product).await?)
    }

    async fn products(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
        sort: ProductSort,
        page: PageRequest<ProductCursor>,
    ) -> Result<Page<Product>> {
        Ok(self.list_products(merchant, filter, sort, page).await?)
    }

    async fn facets(&self, merchant: MerchantId, filter: &ProductFilter) -> Result<ProductFacets> {
        Ok(self.product_facets(merchant, filter).await?)
    }

    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>> {
        let query = || sqlx::query(CATEGORIES).bind(merchant.0).bind(i64::from(CATEGORY_PRODUCTS_MAX));
        Ok(self.router.rows(merchant, ReadMode::Replica, query, rows::category).await?)
    }
}

async fn put(
    unit: &mut Unit,
    merchant: MerchantId,
    product: &ProductData,
    at: Timestamp,
) -> Result<(Product, bool), PostgresFault> {
    let words = ProductWords::of(&product.name, &product.sku);
    if let Some(replaced) = replace(unit, merchant, product, &words, at).await? {
        return Ok((replaced, false));
    }
    if let Some(row) = unit.row(with_product(INSERT, merchant, product, &words, at)).await? {
        let changes = words.changes_from(&ProductWords::default());
        product_words::change(unit, merchant, &product.sku, &changes).await?;
        return Ok((rows::product(&row)?, true));
    }
    // Created concurrently; products are never deleted, so it exists.
    let replaced = replace(unit, merchant, product, &words, at).await?;
    let replaced =
        replaced.ok_or_else(|| PostgresFault::Corrupt(format!("product {} was not stored", product.sku)))?;
    Ok((replaced, false))
}

/// `None` where there is no such product.
async fn replace(
    unit: &mut Unit,
    merchant: MerchantId,
    product: &ProductData,
    words: &ProductWords,
    at: Timestamp,
) -> Result<Option<Product>, PostgresFault> {
    let former = sqlx::query(FORMER_WORDS).bind(merchant.0).bind(&product.sku);
    let Some(former) = unit.row(former).await? else { return Ok(None) };
    let changes = words.changes_from(&ProductWords::stored(former.text_if_any("search_words")?));
    let row = unit.row(with_product(UPDATE, merchant, product, words, at)).await?;
    product_words::change(unit, merchant, &product.sku, &changes).await?;
    row.as_ref().map(rows::product).transpose()
}

fn with_product<'q>(
    sql: &'static str,
    merchant: MerchantId,
    product: &'q ProductData,
    words: &ProductWords,
    at: Timestamp,
) -> Query<'q> {
    sqlx::query(sql)
        .bind(merchant.0)
        .bind(&product.sku)
        .bind(&product.name)
        .bind(&product.description)
        .bind(&product.category)
        .bind(product.price_minor)
        .bind(product.currency.as_str())
        .bind(product.low_stock_at)
        .bind(Moment(at))
        .bind(words.text())
}

async fn set_stock(
    unit: &mut Unit,
    (merchant, sku): (MerchantId, &str),
    on_hand: i64,
    at: Timestamp,
    trace: Option<TraceContext>,
) -> Result<InventoryPut, PostgresFault> {
    let Some(row) = unit.row(sqlx::query(LOCKED).bind(merchant.0).bind(sku)).await? else {
        return Ok(InventoryPut::NoSuchProduct);
    };
    let before = rows::product(&row)?;
    let low = before.available() > before.low_stock_at && on_hand - before.reserved <= before.low_stock_at;
    let query = sqlx::query(SET_STOCK)
        .bind(merchant.0)
        .bind(sku)
        .bind(on_hand)
        .bind(1 + i64::from(low))
        .bind(Moment(at));
    let Some(row) = unit.row(query).await? else {
        return Ok(InventoryPut::BelowReserved { reserved: before.reserved });
    };
    unit.messages(at).stock_set(merchant, &rows::stock(&row)?, low, trace);
    Ok(InventoryPut::Set(rows::product(&row)?))
}
