//! Routes, one file per resource. Registering a handler here puts it into the OpenAPI document.

mod carts;
mod catalog;
mod customer_export;
mod customers;
mod document;
mod events;
mod examples;
mod index;
mod order_fields;
mod orders;
mod password_resets;
mod problem_responses;
mod product_lists;
mod sessions;
mod waiting_room;
mod webhook_endpoints;

pub(crate) use index::entry_points;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use orders::check_order_body;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use product_lists::check_cursor;

use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    health,
    problem::{FieldError, ProblemBody},
    state::ApiState,
};

/// The parts of the document that no route adds.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Orderworks",
        description = "A lean order API. Amounts are integers in minor units; times are RFC 3339 in UTC; errors are \
                       RFC 9457 problem details. See docs/API.md for a guide.",
        version = "1",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ProblemBody, FieldError)),
    security(("api_key" = [])),
    tags(
        (name = "orders", description = "Placing, reading, cancelling and refunding orders"),
        (name = "carts", description = "Gathering products and ordering them"),
        (name = "customers", description = "Registering, signing in and out, passwords that were forgotten"),
        (name = "catalog", description = "Products, categories and stock"),
        (name = "webhooks", description = "Being told of events"),
        (name = "health", description = "For balancers and operators; no key"),
    ),
)]
struct Document;

/// The OpenAPI document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = all().into_openapi();
    document::tell_rules(&mut document);
    examples::tell(&mut document);
    document
}

pub(crate) fn all() -> OpenApiRouter<ApiState> {
    resources().merge(index::routes()).merge(index::document_routes(openapi))
}

/// The same for a server that has a page at `/`.
pub(crate) fn all_but_entry_points() -> OpenApiRouter<ApiState> {
    resources().merge(index::document_routes(openapi))
}

fn resources() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(orders::routes())
        .merge(carts::routes())
        .merge(customers::routes())
        .merge(customer_export::routes())
        .merge(password_resets::routes())
        .merge(sessions::routes())
        .merge(product_lists::routes())
        .merge(catalog::routes())
        .merge(waiting_room::routes())
        .merge(webhook_endpoints::routes())
        .merge(events::routes())
        .merge(health::routes())
}
