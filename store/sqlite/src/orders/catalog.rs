//! [`Catalog`]: products and stock.

use async_trait::async_trait;
use base::{Timestamp, TraceContext, sqlite::Query};
use store::{
    catalog::{Catalog, Category, InventoryPut, Product, ProductData, ProductFilter},
    domain::{MerchantId, Page, PageRequest},
    error::Result,
    rules::{rows, texts},
};

use super::{SqliteOrders, fault::SqliteFault, transaction::Unit};

pub(super) const LIST: &str = r"
    SELECT * FROM products WHERE merchant_id = ?1 AND sku > ?2
        AND (?4 IS NULL OR coalesce(search_text, lower(name || char(10) || sku)) LIKE ?4 ESCAPE '\')
    ORDER BY sku LIMIT ?3";
// The index is named because the planner may instead scan all products, which are ordered by sku as well.
pub(super) const LIST_BY_CATEGORY: &str = r"
    SELECT * FROM products INDEXED BY products_by_category
    WHERE merchant_id = ?1 AND category = ?5 AND sku > ?2
        AND (?4 IS NULL OR coalesce(search_text, lower(name || char(10) || sku)) LIKE ?4 ESCAPE '\')
    ORDER BY sku LIMIT ?3";

const UPDATE: &str = "
    UPDATE products SET name = ?3, description = ?4, category = ?5, price_minor = ?6, currency = ?7,
        low_stock_at = ?8, updated_at = ?9, search_text = ?10
    WHERE merchant_id = ?1 AND sku = ?2 RETURNING *";
const INSERT: &str = "
    INSERT INTO products (merchant_id, sku, name, description, category, price_minor, currency, low_stock_at,
        updated_at, search_text)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING *";
const SET_STOCK: &str = "
    UPDATE products SET on_hand = ?3, event_sequence = event_sequence + ?4, updated_at = ?5
    WHERE merchant_id = ?1 AND sku = ?2 AND reserved <= ?3 RETURNING *";
const CATEGORIES: &str = "
    SELECT category, count(*) AS products FROM products WHERE merchant_id = ?1
    GROUP BY category ORDER BY category LIMIT 1000";

#[async_trait]
impl Catalog for SqliteOrders {
    async fn put_product(
        &self,
        merchant: MerchantId,
        product: ProductData,
        at: Timestamp,
    ) -> Result<(Product, bool)> {
        let put = self.write(at, move |unit| {
            Box::pin(async move {
                if let Some(row) = unit.row(with_product(UPDATE, merchant, &product, at)).await? {
                    return Ok((rows::product(&row)?, false));
                }
                let row = unit.row(with_product(INSERT, merchant, &product, at)).await?;
                let row = row.ok_or_else(|| SqliteFault::corrupt("an INSERT returned no row".to_owned()))?;
                Ok::<_, SqliteFault>((rows::product(&row)?, true))
            })
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
        page: PageRequest<String>,
    ) -> Result<Page<Product>> {
        let query = sqlx::query(if filter.category.is_some() { LIST_BY_CATEGORY } else { LIST })
            .bind(merchant.to_string())
            .bind(page.after.unwrap_or_default())
            .bind(i64::from(page.limit) + 1)
            .bind(filter.text.as_deref().map(texts::containing));
        let query = if let Some(category) = &filter.category { query.bind(category) } else { query };
        Ok(Page::from_overfetched(self.all(query, rows::product).await?, page.limit))
    }

    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>> {
        self.all(sqlx::query(CATEGORIES).bind(merchant.to_string()), rows::category).await
    }
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
        .bind(texts::search_text(&product.name, &product.sku))
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
