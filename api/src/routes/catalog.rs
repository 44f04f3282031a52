//! Products, categories and stock.

use axum::{Extension, Json, extract::State, response::Response};
use base::TraceContext;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde::Deserialize;
use store::{
    catalog::{self, Category, ProductData},
    domain::Currency,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::{AnyKey, SecretKey},
    input::{Body, PathText, Request, is_sku},
    page_cache::{CacheGroup, PageClass, PageQuery, invalidation},
    problem::{FieldError, Kind, Problem},
    state::ApiState,
    view::{CategoryView, InventoryView, List, ProductView},
};

/// Tells caches which stored answers a write makes invalid.
type Invalidation = [(HeaderName, HeaderValue); 1];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(get_product, put_product))
        .routes(routes!(list_categories))
        .routes(routes!(get_inventory, put_inventory))
}

/// Read a product
#[utoipa::path(
    get, path = "/v1/products/{sku}", tag = "catalog",
    params(("sku" = String, Path, description = "Stock keeping unit")),
    responses(
        (status = 200, description = "The product", body = ProductView, headers(
            ("ETag" = String, description = "Tag of this answer, for `If-None-Match`"),
        )),
        (status = 304, description = "Not changed since the answer whose `ETag` the request names in `If-None-Match`"),
    ),
)]
async fn get_product(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    PathText(sku): PathText,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !is_sku(&sku) {
        return Err(no_product());
    }
    let groups = [CacheGroup::Product(&sku)];
    let query = PageQuery::json(PageClass::Product, &key, &uri, &headers, &groups);
    let found = state.catalog.encoded_product(key.merchant, &sku).await;
    state.pages.answer(&query, found, ProductView::from).await?.ok_or_else(no_product)
}

fn no_product() -> Problem {
    Problem::not_found("product")
}

/// A product; its stock is set separately.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProductPut {
    /// The same as in the path, if present.
    #[schema(format = "sku")]
    sku: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Line breaks and tabs are allowed.
    #[schema(format = "paragraphs", min_length = 1, max_length = 5000)]
    description: Option<String>,
    #[schema(format = "slug")]
    category: String,
    /// Per unit, in minor units.
    #[schema(minimum = 0, maximum = 999_999_999_999_i64)]
    price_minor: i64,
    /// ISO 4217.
    #[schema(value_type = String, format = "currency", example = "EUR")]
    currency: Currency,
    /// `inventory.low` is sent when the available quantity falls to this; 0 when absent.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    low_stock_at: Option<i64>,
}

impl Request for ProductPut {}

/// Create or replace a product
#[utoipa::path(
    put, path = "/v1/products/{sku}", tag = "catalog", security(("secret_key" = [])),
    params(("sku" = String, Path, description = "Stock keeping unit, `[A-Za-z0-9._-]{1,64}`")),
    request_body = ProductPut,
    responses(
        (status = 200, description = "Replaced", body = ProductView),
        (status = 201, description = "Created, with no stock", body = ProductView),
    ),
)]
async fn put_product(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(sku): PathText,
    body: Body<ProductPut>,
) -> Result<(StatusCode, Invalidation, Json<ProductView>), Problem> {
    let ProductPut { sku: given, name, description, category, price_minor, currency, low_stock_at } =
        body.value;
    if !is_sku(&sku) {
        return Err(Problem::new(
            Kind::INVALID,
            "a sku is 1 to 64 letters, digits, dots, underscores or dashes",
        ));
    }
    if given.is_some_and(|given| given != sku) {
        let error = FieldError::new("/sku", "mismatch", "differs from the sku in the path");
        return Err(Problem::invalid(vec![error]));
    }
    let (changed, low_stock_at) = (sku.clone(), low_stock_at.unwrap_or(0));
    let data = ProductData { sku, name, description, category, price_minor, currency, low_stock_at };
    let put = state.orders.put_product(key.merchant, data, state.ambient.now()).await;
    state.catalog.changed(key.merchant, &changed).await;
    let (product, new) = put?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, invalidation(key.merchant, &changed), Json(product.into())))
}

/// List categories
#[utoipa::path(
    get, path = "/v1/categories", tag = "catalog",
    responses(
        (status = 200, description = "All categories, by slug", body = List<CategoryView>, headers(
            ("ETag" = String, description = "Tag of this answer, for `If-None-Match`"),
        )),
        (status = 304, description = "Not changed since the answer whose `ETag` the request names in `If-None-Match`"),
    ),
)]
async fn list_categories(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = PageQuery::json(PageClass::List, &key, &uri, &headers, &[CacheGroup::Lists]);
    let found = state.catalog.categories(key.merchant).await;
    let view = |categories: Vec<Category>| {
        List::new(categories.into_iter().map(CategoryView::from).collect(), false)
    };
    state.pages.answer(&query, found, view).await?.ok_or_else(Problem::logged)
}

/// Read the stock of a product
#[utoipa::path(
    get, path = "/v1/inventory/{sku}", tag = "catalog", security(("secret_key" = [])),
    params(("sku" = String, Path, description = "Stock keeping unit")),
    responses((status = 200, description = "The stock", body = InventoryView)),
)]
async fn get_inventory(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(sku): PathText,
) -> Result<Json<InventoryView>, Problem> {
    // Not through the cache: merchants need the exact figure.
    let found = if is_sku(&sku) { state.orders.product(key.merchant, &sku).await? } else { None };
    Ok(Json(found.ok_or_else(no_product)?.into()))
}

/// Stock of a product.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InventoryPut {
    /// Units in stock, including those reserved for open orders.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    on_hand: i64,
}

impl Request for InventoryPut {}

/// Set the stock of a product
#[utoipa::path(
    put, path = "/v1/inventory/{sku}", tag = "catalog", security(("secret_key" = [])),
    params(("sku" = String, Path, description = "Stock keeping unit")),
    request_body = InventoryPut,
    responses(
        (status = 200, description = "Set", body = InventoryView),
        (status = 409, description = "Open orders have reserved more than this"),
    ),
)]
async fn put_inventory(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    Extension(trace): Extension<TraceContext>,
    PathText(sku): PathText,
    body: Body<InventoryPut>,
) -> Result<(Invalidation, Json<InventoryView>), Problem> {
    if !is_sku(&sku) {
        return Err(no_product());
    }
    let (on_hand, now) = (body.value.on_hand, state.ambient.now());
    let put = state.orders.put_inventory(key.merchant, &sku, on_hand, now, Some(trace)).await;
    state.catalog.changed(key.merchant, &sku).await;
    match put? {
        catalog::InventoryPut::Set(product) => Ok((invalidation(key.merchant, &sku), Json(product.into()))),
        catalog::InventoryPut::BelowReserved { reserved } => {
            Err(Problem::new(Kind::BELOW_RESERVED, format!("{reserved} units are promised to open orders")))
        }
        catalog::InventoryPut::NoSuchProduct => Err(no_product()),
    }
}
