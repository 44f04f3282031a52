//! The OpenAPI document and the entry point that refers to it.

use std::sync::OnceLock;

use axum::{
    Extension, Json,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::{ToSchema, openapi::OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    problem::{Kind, Problem},
    state::ApiState,
};

/// Entry points of the API.
#[derive(Serialize, ToSchema)]
struct Index {
    /// Name of the service.
    name: &'static str,
    /// The OpenAPI document.
    openapi: &'static str,
    /// Readiness of the service.
    ready: &'static str,
}

// By name, as the macro of the operation reads no function types.
type Source = fn() -> OpenApi;

/// The route of the entry points.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(index))
}

/// The route of the document; `source` builds it of all routes, including these.
pub(super) fn document_routes(source: Source) -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(document)).layer(Extension(source))
}

/// The entry points, for pages that are served in their place.
pub(crate) async fn entry_points() -> Response {
    index().await.into_response()
}

/// Entry points of the API
#[utoipa::path(get, path = "/", tag = "health", security(()), responses((status = 200, description = "Links", body = Index)))]
async fn index() -> Json<Index> {
    Json(Index { name: "orderworks", openapi: "/openapi.json", ready: "/readyz" })
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "health", security(()),
    responses((status = 200, description = "OpenAPI", content_type = "application/json", body = Object)),
)]
async fn document(Extension(source): Extension<Source>) -> Result<Response, Problem> {
    static DOCUMENT: OnceLock<Option<String>> = OnceLock::new();
    let text = DOCUMENT.get_or_init(|| source().to_json().ok());
    let text =
        text.as_deref().ok_or_else(|| Problem::new(Kind::INTERNAL, "the document cannot be written"))?;
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((StatusCode::OK, headers, text).into_response())
}
