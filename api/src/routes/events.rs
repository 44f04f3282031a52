//! Event lists of a merchant.

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::SecretKey,
    input::Query,
    problem::Problem,
    state::ApiState,
    view::{EventView, List},
};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_events))
}

/// List events, newest first
#[utoipa::path(
    get, path = "/v1/events", tag = "webhooks",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100, 10 when absent"),
        ("starting_after" = Option<String>, Query, description = "The last event of the page before"),
    ),
    responses((status = 200, description = "A page of events", body = List<EventView>)),
)]
async fn list_events(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    uri: http::Uri,
) -> Result<Json<List<EventView>>, Problem> {
    let page = state.orders.events(key.merchant, Query::paged(&uri, &[]).page()?).await?;
    Ok(Json(List::new(page.items.into_iter().map(EventView::from).collect(), page.has_more)))
}
