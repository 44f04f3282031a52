//! Lists of products: searched, filtered, in an order, page by page; and the counts beside them.

use axum::{extract::State, response::Response};
use http::{HeaderMap, Uri};
use store::{
    catalog::{PriceFilter, ProductCursor, ProductFilter, ProductSort},
    domain::{AMOUNT_MINOR_MAX, Currency, PageRequest},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    catalog_cache::{Listed, is_search},
    input::Query,
    limits::{FacetCaller, SearchCaller},
    page_cache::{CacheGroup, PageClass, PageQuery},
    problem::Problem,
    state::ApiState,
    view::{FacetsView, List, ProductView},
};

/// Parameters of a filter.
const FILTER: [&str; 6] = ["category", "q", "currency", "price_min", "price_max", "in_stock"];
/// The same with that of the order.
const FILTER_AND_SORT: [&str; 7] =
    ["category", "q", "currency", "price_min", "price_max", "in_stock", "sort"];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_products)).routes(routes!(get_facets))
}

/// List products
#[utoipa::path(
    get, path = "/v1/products", tag = "catalog",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100, 10 when absent"),
        ("starting_after" = Option<String>, Query,
            description = "The last sku of the page before; by price, the last price and sku as `250:mug`"),
        ("category" = Option<String>, Query, description = "Only this category"),
        ("q" = Option<String>, Query,
            description = "Only products of which each word of this text begins a word of the name or sku, or the rest of one"),
        ("currency" = Option<String>, Query, description = "Only prices in this currency"),
        ("price_min" = Option<i64>, Query, description = "Only this price or more; needs `currency`"),
        ("price_max" = Option<i64>, Query, description = "Only this price or less; needs `currency`"),
        ("in_stock" = Option<bool>, Query, description = "`true`: only products that can be ordered"),
        ("sort" = Option<String>, Query, description = "By `sku` when absent; by price needs `currency`"),
    ),
    responses(
        (status = 200, description = "A page of products", body = List<ProductView>, headers(
            ("ETag" = String, description = "Tag of this answer, for `If-None-Match`"),
        )),
        (status = 304, description = "Not changed since the answer whose `ETag` the request names in `If-None-Match`"),
    ),
)]
async fn list_products(
    State(state): State<ApiState>,
    SearchCaller(key): SearchCaller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::paged(&uri, &FILTER_AND_SORT);
    let sort = query.parsed("sort", "`sku`, `price` or `-price`").unwrap_or_default();
    let filter = filter(&query, sort);
    if sort != ProductSort::Sku {
        // Only its form is looked at here.
        query.parsed::<PriceAndSku>("starting_after", "price and sku of the last product, such as `250:mug`");
    }
    let PageRequest { limit, after } = query.page::<String>()?;
    let after = after.map(|text| match text.parse() {
        Ok(PriceAndSku(cursor)) if sort != ProductSort::Sku => cursor,
        _ => ProductCursor { price_minor: 0, sku: text },
    });
    let class = if is_search(&filter) { PageClass::Search } else { PageClass::List };
    let asked = PageQuery::json(class, &key, &uri, &headers, &[CacheGroup::Lists]);
    let found = state.catalog.products(key.merchant, filter, sort, PageRequest { limit, after }).await;
    let view =
        |(items, has_more): Listed| List::new(items.into_iter().map(ProductView::from).collect(), has_more);
    state.pages.answer(&asked, found, view).await?.ok_or_else(Problem::logged)
}

/// Count products
///
/// By category, price and stock, for the filter of a list. At most 10,000 products are counted and 50 categories named.
#[utoipa::path(
    get, path = "/v1/product_facets", tag = "catalog",
    params(
        ("category" = Option<String>, Query, description = "Only this category"),
        ("q" = Option<String>, Query,
            description = "Only products of which each word of this text begins a word of the name or sku, or the rest of one"),
        ("currency" = Option<String>, Query, description = "Only prices in this currency"),
        ("price_min" = Option<i64>, Query, description = "Only this price or more; needs `currency`"),
        ("price_max" = Option<i64>, Query, description = "Only this price or less; needs `currency`"),
        ("in_stock" = Option<bool>, Query, description = "`true`: only products that can be ordered"),
    ),
    responses(
        (status = 200, description = "The counts", body = FacetsView, headers(
            ("ETag" = String, description = "Tag of this answer, for `If-None-Match`"),
        )),
        (status = 304, description = "Not changed since the answer whose `ETag` the request names in `If-None-Match`"),
    ),
)]
async fn get_facets(
    State(state): State<ApiState>,
    FacetCaller(key): FacetCaller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::plain(&uri, &FILTER);
    let filter = filter(&query, ProductSort::Sku);
    query.finish()?;
    let asked = PageQuery::json(PageClass::Search, &key, &uri, &headers, &[CacheGroup::Lists]);
    let found = state.catalog.facets(key.merchant, filter).await;
    state.pages.answer(&asked, found, FacetsView::from).await?.ok_or_else(Problem::logged)
}

fn filter(query: &Query, sort: ProductSort) -> ProductFilter {
    let price = |name: &str| query.parsed::<u64>(name, "an amount in minor units");
    let (min, max) = (price("price_min"), price("price_max"));
    let currency = query.parsed::<Currency>("currency", "an ISO 4217 code such as EUR");
    let compares = min.is_some() || max.is_some() || sort != ProductSort::Sku;
    if compares && !query.has("currency") {
        query.fault("currency", "required", "prices of several currencies cannot be compared");
    }
    let price = currency.map(|currency| PriceFilter {
        currency,
        min_minor: min.map_or(0, amount),
        max_minor: max.map_or(AMOUNT_MINOR_MAX, amount),
    });
    ProductFilter {
        category: query.text("category", 64),
        text: query.text("q", 100).filter(|text| !text.trim().is_empty()),
        price,
        in_stock: query.parsed("in_stock", "`true` or `false`").unwrap_or(false),
    }
}

/// The amount, or the largest one.
fn amount(minor: u64) -> i64 {
    i64::try_from(minor).map_or(AMOUNT_MINOR_MAX, |minor| minor.min(AMOUNT_MINOR_MAX))
}

/// Checks the reading of a cursor, see [`crate::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_cursor(text: &str) {
    if let Ok(PriceAndSku(cursor)) = text.parse() {
        assert!((0..=AMOUNT_MINOR_MAX).contains(&cursor.price_minor), "{}", cursor.price_minor);
        assert!(text.ends_with(&cursor.sku), "the rest of the cursor");
    }
}

/// A position in a list by price, as `250:mug`.
struct PriceAndSku(ProductCursor);

impl std::str::FromStr for PriceAndSku {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (price, sku) = text.split_once(':').ok_or(())?;
        let price_minor = price.parse::<u64>().map(amount).map_err(|_| ())?;
        Ok(Self(ProductCursor { price_minor, sku: sku.to_owned() }))
    }
}
