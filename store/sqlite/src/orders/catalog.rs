//! [`Catalog`]: products and stock; lists are in [`super::product_lists`].

use async_trait::async_trait;
use base::{Timestamp, TraceContext, sqlite::Query};
use store::{
    catalog::{
        CATEGORY_PRODUCTS_MAX, Catalog, Category, InventoryPut, Product, ProductCursor, ProductData,
        ProductFacets, ProductFilter, ProductSort,
    },
    domain::{MerchantId, Page, PageRequest},
    error::Result,
    rules::{columns::Columns, rows, search::ProductWords},
};

use super::{SqliteOrders, fault::SqliteFault, product_words, transaction::Unit};

const UPDATE: &str = "
    UPDATE products SET name = ?3, description = ?4, category = ?5, price_minor = ?6, currency = ?7,
        low_stock_at = ?8, updated_at = ?9, search_words = ?10
    WHERE merchant_id = ?1 AND sku = ?2 RETURNING *";
const INSERT: &str = "
    INSERT INTO products (merchant_id, sku, name, description, category, price_minor, currency, low_stock_at,
        updated_at, search_words)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING *";
const SET_STOCK: &str = "
    UPDATE products SET on_hand = ?3, event_sequence = event_sequence + ?4, updated_at = ?5
    WHERE merchant_id = ?1 AND sku = ?2 AND reserved <= ?3 RETURNING *";
// Each category is found after the one before it, by the index: no statement reads all products of a merchant. The
// index is named because the planner may instead read a larger one.
pub(super) const CATEGORIES: &str = "
    WITH RECURSIVE slugs (category, position) AS (
        SELECT (SELECT category FROM products INDEXED BY products_by_category WHERE merchant_id = ?1
            ORDER BY category LIMIT 1), 1
        UNION ALL
        SELECT (SELECT category FROM products INDEXED BY products_by_category
            WHERE merchant_id = ?1 AND category > slugs.category ORDER BY category LIMIT 1), position + 1
        FROM slugs WHERE category IS NOT NULL AND position < 1000)
    SELECT category, (SELECT count(*) FROM (
        SELECT 1 FROM products INDEXED BY products_by_category
        WHERE merchant_id = ?1 AND category = slugs.category LIMIT ?2)) AS products
    FROM slugs WHERE category IS NOT NULL ORDER BY category";

#[async_trait]
impl Catalog for SqliteOrders {
    async fn put_product(
        &self,
        merchant: MerchantId,
        product: ProductData,
        at: Timestamp,
    ) -> Result<(Product, bool)> {
        Ok(self.write(at, move |unit| Box::pin(put(unit, merchant, product, at))).await?)
    }

    async fn put_inventory(
        &self,
        merchant: MerchantId,
        sku: &str,
        on_hand: i64,
        at: Timestamp,
        trace: Option<TraceContext>,
    ) -> Result<InventoryPut> {
        let sku = sku.to_owned();
        Ok(self.write(at, move |unit| Box::pin(set_stock(unit, merchant, sku, on_hand, trace))).await?)
    }

    async fn product(&self, merchant: MerchantId, sku: &str) -> Result<Option<Product>> {
        self.first(of_sku(merchant, sku), rows::product).await
    }

    async fn products(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
        sort: ProductSort,
        page: PageRequest<ProductCursor>,
    ) -> Result<Page<Product>> {
        self.list_products(merchant, filter, sort, page).await
    }

    async fn facets(&self, merchant: MerchantId, filter: &ProductFilter) -> Result<ProductFacets> {
        self.product_facets(merchant, filter).await
    }

    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>> {
        let query = sqlx::query(CATEGORIES).bind(merchant.to_string()).bind(i64::from(CATEGORY_PRODUCTS_MAX));
        self.all(query, rows::category).await
    }
}

async fn put(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    product: ProductData,
    at: Timestamp,
) -> Result<(Product, bool), SqliteFault> {
    let former = unit.row(of_sku(merchant, &product.sku)).await?;
    let is_new = former.is_none();
    let former = match &former {
        Some(row) => ProductWords::stored(row.text_if_any("search_words")?),
        None => ProductWords::default(),
    };
    let words = ProductWords::of(&product.name, &product.sku);
    let sql = if is_new { INSERT } else { UPDATE };
    let row = unit.row(with_product(sql, merchant, &product, &words, at)).await?;
    let row = row.ok_or_else(|| SqliteFault::corrupt("a written product returned no row".to_owned()))?;
    product_words::change(unit, merchant, &product.sku, &words.changes_from(&former)).await?;
    Ok((rows::product(&row)?, is_new))
}

fn of_sku(merchant: MerchantId, sku: &str) -> Query<'static> {
    sqlx::query("SELECT * FROM products WHERE merchant_id = ?1 AND sku = ?2")
        .bind(merchant.to_string())
        .bind(sku)
}

fn with_product(
    sql: &'static str,
    merchant: MerchantId,
    product: &ProductData,
    words: &ProductWords,
    at: Timestamp,
) -> Query<'static> {
    sqlx::query(sql)
        .bind(merchant.to_string())
        .bind(&product.sku)
        .bind(&product.name)
        .bind(&product.description)
        .bind(&product.category)
        .bind(product.price_minor)
        .bind(product.currency.as_str())
        .bind(product.low_stock_at)
        .bind(at.as_millisecond())
        .bind(words.text())
}

async fn set_stock(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    sku: String,
    on_hand: i64,
    trace: Option<TraceContext>,
) -> Result<InventoryPut, SqliteFault> {
    let Some(row) = unit.row(of_sku(merchant, &sku)).await? else { return Ok(InventoryPut::NoSuchProduct) };
    let before = rows::product(&row)?;
    let low = before.available() > before.low_stock_at && on_hand - before.reserved <= before.low_stock_at;
    let query = sqlx::query(SET_STOCK)
        .bind(merchant.to_string())
        .bind(sku)
        .bind(on_hand)
        .bind(1 + i64::from(low))
        .bind(unit.at_ms());
    let Some(row) = unit.row(query).await? else {
        return Ok(InventoryPut::BelowReserved { reserved: before.reserved });
    };
    unit.messages.stock_set(merchant, &rows::stock(&row)?, low, trace);
    Ok(InventoryPut::Set(rows::product(&row)?))
}
