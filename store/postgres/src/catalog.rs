//! [`Catalog`]: products and stock.

use async_trait::async_trait;
use base::{Timestamp, TraceContext, postgres::Query};
use store::{
    catalog::{Catalog, Category, InventoryPut, Product, ProductData, ProductFilter},
    domain::{MerchantId, Page, PageRequest},
    error::Result,
    rules::{rows, texts},
};

use super::{PostgresOrders, fault::PostgresFault, router::ReadMode, timestamps::Moment, transaction::Unit};

macro_rules! columns {
    () => {
        "sku, name, description, category, price_minor, currency, on_hand, reserved, low_stock_at, event_sequence, \
         updated_at"
    };
}

pub(super) const ONE: &str = select!(" FROM products WHERE merchant_id = $1 AND sku = $2");
pub(super) const LIST: &str = select!(
    r#" FROM products WHERE merchant_id = $1 AND sku > $2
        AND ($4::text IS NULL OR coalesce(search_text, lower(name || chr(10) || sku)) LIKE $4 ESCAPE '\')
    ORDER BY sku LIMIT $3"#
);
pub(super) const LIST_BY_CATEGORY: &str = select!(
    r#" FROM products WHERE merchant_id = $1 AND category = $5 AND sku > $2
        AND ($4::text IS NULL OR coalesce(search_text, lower(name || chr(10) || sku)) LIKE $4 ESCAPE '\')
    ORDER BY sku LIMIT $3"#
);
pub(super) const CATEGORIES: &str = "
    SELECT category, count(*) AS products FROM products WHERE merchant_id = $1
    GROUP BY category ORDER BY category LIMIT 1000";
const LOCKED: &str = select!(" FROM products WHERE merchant_id = $1 AND sku = $2 FOR NO KEY UPDATE");
const SET_STOCK: &str = concat!(
    "UPDATE products SET on_hand = $3, event_sequence = event_sequence + $4, updated_at = $5
     WHERE merchant_id = $1 AND sku = $2 AND reserved <= $3 RETURNING ",
    columns!()
);
const UPDATE: &str = concat!(
    "UPDATE products SET name = $3, description = $4, category = $5, price_minor = $6, currency = $7,
         low_stock_at = $8, updated_at = $9, search_text = $10
     WHERE merchant_id = $1 AND sku = $2 RETURNING ",
    columns!()
);
const INSERT: &str = concat!(
    "INSERT INTO products (merchant_id, sku, name, description, category, price_minor, currency, low_stock_at,
         updated_at, search_text)
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
        page: PageRequest<String>,
    ) -> Result<Page<Product>> {
        let query = || {
            let query = sqlx::query(if filter.category.is_some() { LIST_BY_CATEGORY } else { LIST })
                .bind(merchant.0)
                .bind(page.after.as_deref().unwrap_or_default())
                .bind(i64::from(page.limit) + 1)
                .bind(filter.text.as_deref().map(texts::containing));
            if let Some(category) = &filter.category { query.bind(category) } else { query }
        };
        let products = self.router.rows(merchant, ReadMode::Replica, query, rows::product).await?;
        Ok(Page::from_overfetched(products, page.limit))
    }

    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>> {
        let query = || sqlx::query(CATEGORIES).bind(merchant.0);
        Ok(self.router.rows(merchant, ReadMode::Replica, query, rows::category).await?)
    }
}

async fn put(
    unit: &mut Unit,
    merchant: MerchantId,
    product: &ProductData,
    at: Timestamp,
) -> Result<(Product, bool), PostgresFault> {
    if let Some(row) = unit.row(with_product(UPDATE, merchant, product, at)).await? {
        return Ok((rows::product(&row)?, false));
    }
    if let Some(row) = unit.row(with_product(INSERT, merchant, product, at)).await? {
        return Ok((rows::product(&row)?, true));
    }
    // Created concurrently; products are never deleted, so it exists.
    let row = unit.row(with_product(UPDATE, merchant, product, at)).await?;
    let row = row.ok_or_else(|| PostgresFault::Corrupt(format!("product {} was not stored", product.sku)))?;
    Ok((rows::product(&row)?, false))
}

fn with_product<'q>(
    sql: &'static str,
    merchant: MerchantId,
    product: &'q ProductData,
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
        .bind(texts::search_text(&product.name, &product.sku))
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
