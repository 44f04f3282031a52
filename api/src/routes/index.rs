//! The document itself and a pointer to it.

use std::sync::OnceLock;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    problem::{Kind, Problem},
    state::ApiState,
};

/// Where to go from here.
#[derive(Serialize, ToSchema)]
struct Index {
    /// What this is.
    name: &'static str,
    /// The OpenAPI document.
    openapi: &'static str,
    /// Whether it is ready.
    ready: &'static str,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(index)).routes(routes!(document))
}

/// Where to go from here
#[utoipa::path(get, path = "/", tag = "health", security(()), responses((status = 200, description = "Links", body = Index)))]
async fn index() -> Json<Index> {
    Json(Index { name: "orderworks", openapi: "/openapi.json", ready: "/readyz" })
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "health", security(()),
    responses((status = 200, description = "OpenAPI", content_type = "application/json", body = Object)),
)]
async fn document() -> Result<Response, Problem> {
    static DOCUMENT: OnceLock<Option<String>> = OnceLock::new();
    let text = DOCUMENT.get_or_init(|| super::openapi().to_json().ok());
    let text =
        text.as_deref().ok_or_else(|| Problem::new(Kind::INTERNAL, "the document cannot be written"))?;
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((StatusCode::OK, headers, text).into_response())
}
