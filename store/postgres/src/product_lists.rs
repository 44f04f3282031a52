//! Lists of products: filtered, searched by words, in three orders; and their facets.
//!
//! Guarantees: a list in order is read from an index of that order and sorts nothing; a search for rare words reads the
//! products of one word and sorts these. See [`store::rules::search`] for the choice between the two.

use base::postgres::Query;
use store::{
    catalog::{FACET_PRODUCTS_MAX, Product, ProductCursor, ProductFacets, ProductFilter, ProductSort},
    domain::{AMOUNT_MINOR_MAX, MerchantId, Page, PageRequest},
    rules::{
        columns::Columns,
        rows,
        search::{self, CANDIDATES_MAX, ProductSource, SearchText, SearchWords},
    },
};

use super::{PostgresOrders, fault::Result, router::ReadMode};

macro_rules! columns {
    () => {
        "sku, name, description, category, price_minor, currency, on_hand, reserved, low_stock_at, updated_at"
    };
}

/// Tests of a row, over `$4` to `$9`.
macro_rules! filter {
    () => {
        "
        AND ($5::text IS NULL OR category = $5)
        AND ($6::text IS NULL OR (currency = $6 AND price_minor BETWEEN $7 AND $8))
        AND (NOT $9 OR on_hand > reserved)
        AND ($4::text[] IS NULL OR search_words LIKE ALL ($4))"
    };
}

macro_rules! in_order {
    ($after:literal, $order:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM products WHERE merchant_id = $1 AND ",
            $after,
            filter!(),
            " ORDER BY ",
            $order,
            " LIMIT $3"
        )
    };
}

// OFFSET keeps the look-up a sub-query of its own, which finds each product by its whole key.
macro_rules! by_word {
    ($after:literal, $order:literal) => {
        concat!(
            "WITH candidates (found) AS MATERIALIZED (
                SELECT DISTINCT sku FROM product_words WHERE merchant_id = $1 AND word >= $10 AND word < $11)
            SELECT ",
            columns!(),
            " FROM candidates CROSS JOIN LATERAL (
                SELECT ",
            columns!(),
            " FROM products WHERE merchant_id = $1 AND sku = candidates.found",
            filter!(),
            " OFFSET 0) AS p
            WHERE ",
            $after,
            " ORDER BY ",
            $order,
            " LIMIT $3"
        )
    };
}

macro_rules! facets {
    ($($from:tt)+) => {
        concat!(
            "SELECT category, currency, count(*) AS products, count(*) FILTER (WHERE on_hand > reserved) AS in_stock,
                min(price_minor) AS lowest_minor, max(price_minor) AS highest_minor
            FROM (",
            $($from)+,
            ") AS found GROUP BY category, currency"
        )
    };
}

pub(super) const LIST: &str = in_order!("sku > $2", "sku");
pub(super) const LIST_BY_CATEGORY: &str = in_order!("category = $5 AND sku > $2", "sku");
pub(super) const BY_PRICE: &str =
    in_order!("currency = $6 AND (price_minor, sku) > ($10, $2) AND price_minor <= $8", "price_minor, sku");
pub(super) const BY_PRICE_DESCENDING: &str = in_order!(
    "currency = $6 AND (price_minor, sku) < ($10, $2) AND price_minor >= $7",
    "price_minor DESC, sku DESC"
);
pub(super) const OF_CATEGORY_BY_PRICE: &str = in_order!(
    "category = $5 AND currency = $6 AND (price_minor, sku) > ($10, $2) AND price_minor <= $8",
    "price_minor, sku"
);
pub(super) const OF_CATEGORY_BY_PRICE_DESCENDING: &str = in_order!(
    "category = $5 AND currency = $6 AND (price_minor, sku) < ($10, $2) AND price_minor >= $7",
    "price_minor DESC, sku DESC"
);
// `$13` is 0 for the order by sku and 1 for that by price.
pub(super) const FOUND: &str = by_word!("(price_minor * $13, sku) > ($12, $2)", "price_minor * $13, sku");
pub(super) const FOUND_DESCENDING: &str =
    by_word!("(price_minor, sku) < ($12, $2)", "price_minor DESC, sku DESC");
pub(super) const CANDIDATES: &str = "
    SELECT count(*) AS found FROM (
        SELECT 1 FROM product_words WHERE merchant_id = $1 AND word >= $2 AND word < $3 LIMIT $4) AS candidates";
pub(super) const FACETS: &str = facets!(in_order!("sku > $2", "sku"));
pub(super) const FACETS_OF_CATEGORY: &str = facets!(in_order!("category = $5 AND sku > $2", "sku"));
pub(super) const FACETS_FOUND: &str = facets!(by_word!("sku > $2", "sku"));

impl PostgresOrders {
    pub(super) async fn list_products(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
        sort: ProductSort,
        page: PageRequest<ProductCursor>,
    ) -> Result<Page<Product>> {
        let Some(source) = self.product_source(merchant, filter).await? else {
            return Ok(Page { items: Vec::new(), has_more: false });
        };
        let sort = search::effective_sort(filter, sort);
        let after = search::begin_of(filter, sort, page.after);
        let sql = statement(&source, filter, sort);
        let query = || {
            let limit = i64::from(page.limit) + 1;
            let query = filtered(sql, merchant, &after.sku, limit, filter, source.words());
            match (&source, sort) {
                (ProductSource::InOrder(_), ProductSort::Sku) => query,
                (ProductSource::InOrder(_), _) => query.bind(after.price_minor),
                (ProductSource::ByWord(words), sort) => {
                    let query = with_longest(query, words).bind(after.price_minor);
                    match sort {
                        ProductSort::Sku => query.bind(0_i64),
                        ProductSort::Price => query.bind(1_i64),
                        ProductSort::PriceDescending => query,
                    }
                }
            }
        };
        let products = self.router.rows(merchant, ReadMode::Replica, query, rows::product).await?;
        Ok(Page::from_overfetched(products, page.limit))
    }

    pub(super) async fn product_facets(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
    ) -> Result<ProductFacets> {
        let Some(source) = self.product_source(merchant, filter).await? else {
            return Ok(search::facets(Vec::new()));
        };
        let sql = match (&source, &filter.category) {
            (ProductSource::InOrder(_), None) => FACETS,
            (ProductSource::InOrder(_), Some(_)) => FACETS_OF_CATEGORY,
            (ProductSource::ByWord(_), _) => FACETS_FOUND,
        };
        let query = || {
            let limit = i64::from(FACET_PRODUCTS_MAX) + 1;
            let query = filtered(sql, merchant, "", limit, filter, source.words());
            if let ProductSource::ByWord(words) = &source { with_longest(query, words) } else { query }
        };
        Ok(search::facets(self.router.rows(merchant, ReadMode::Replica, query, rows::facet_group).await?))
    }

    /// `None` where the text can find nothing.
    async fn product_source(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
    ) -> Result<Option<ProductSource>> {
        let words = match SearchText::of(filter) {
            SearchText::All => return Ok(Some(ProductSource::InOrder(None))),
            SearchText::Nothing => return Ok(None),
            SearchText::Words(words) => words,
        };
        let (from, to) = words.longest();
        let query =
            || sqlx::query(CANDIDATES).bind(merchant.0).bind(&from).bind(&to).bind(CANDIDATES_MAX + 1);
        let found: Vec<i64> =
            self.router.rows(merchant, ReadMode::Replica, query, |row| row.number("found")).await?;
        Ok(Some(ProductSource::of(words, found.first().copied().unwrap_or_default())))
    }
}

fn statement(source: &ProductSource, filter: &ProductFilter, sort: ProductSort) -> &'static str {
    match (source, sort, &filter.category) {
        (ProductSource::InOrder(_), ProductSort::Sku, None) => LIST,
        (ProductSource::InOrder(_), ProductSort::Sku, Some(_)) => LIST_BY_CATEGORY,
        (ProductSource::InOrder(_), ProductSort::Price, None) => BY_PRICE,
        (ProductSource::InOrder(_), ProductSort::Price, Some(_)) => OF_CATEGORY_BY_PRICE,
        (ProductSource::InOrder(_), ProductSort::PriceDescending, None) => BY_PRICE_DESCENDING,
        (ProductSource::InOrder(_), ProductSort::PriceDescending, Some(_)) => OF_CATEGORY_BY_PRICE_DESCENDING,
        (ProductSource::ByWord(_), ProductSort::PriceDescending, _) => FOUND_DESCENDING,
        (ProductSource::ByWord(_), _, _) => FOUND,
    }
}

/// Binds `$1` to `$9`.
fn filtered<'q>(
    sql: &'static str,
    merchant: MerchantId,
    after_sku: &'q str,
    limit: i64,
    filter: &'q ProductFilter,
    words: Option<&SearchWords>,
) -> Query<'q> {
    let (min, max) = filter.price.map_or((0, AMOUNT_MINOR_MAX), |price| (price.min_minor, price.max_minor));
    sqlx::query(sql)
        .bind(merchant.0)
        .bind(after_sku)
        .bind(limit)
        .bind(words.map(SearchWords::patterns))
        .bind(filter.category.as_deref())
        .bind(filter.price.map(|price| price.currency.to_string()))
        .bind(min)
        .bind(max)
        .bind(filter.in_stock)
}

/// Binds `$10` and `$11`.
fn with_longest<'q>(query: Query<'q>, words: &SearchWords) -> Query<'q> {
    let (from, to) = words.longest();
    query.bind(from).bind(to)
}
