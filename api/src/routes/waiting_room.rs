//! Place of a shopper in the waiting room of a merchant in sale mode.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    limits::RoomCaller, problem::Problem, state::ApiState, view::WaitingRoomView, waiting_room::Visit,
};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get_waiting_room))
}

/// Read, or take, a place in the waiting room
///
/// In sale mode shoppers order in turn: orders with a publishable key need an admitted place. Without a place that
/// counts (as `Orderworks-Place`, or in the cookie `orderworks_place`) the next one is taken; keep what `place` tells,
/// ask again after `ask_again_seconds`, and order once `status` is `admitted`. It is `open` while shoppers need no
/// place.
#[utoipa::path(
    get, path = "/v1/waiting_room", tag = "orders",
    params(("Orderworks-Place" = Option<String>, Header, description = "`owq_…`, the place of before")),
    responses(
        (status = 200, description = "How the shopper stands", body = WaitingRoomView),
        (status = 503, description = "Too many come at once, or a server behind the API cannot be reached"),
    ),
)]
async fn get_waiting_room(
    State(state): State<ApiState>,
    caller: RoomCaller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(room) = state.rooms.required(caller.key.merchant) else {
        return Ok(Json(WaitingRoomView::open()).into_response());
    };
    let mut visit = state.rooms.visit(&room, &headers);
    if visit.is_none() {
        caller.visitor.take_place(&state).await?;
        visit = state.rooms.enter(&room).await?;
    }
    let now = state.ambient.now();
    let view = visit.as_ref().map_or_else(WaitingRoomView::open, |visit| WaitingRoomView::new(visit, now));
    let cookie = visit.as_ref().filter(|visit| visit.is_new).map(Visit::cookie);
    Ok((cookie.unwrap_or_default(), Json(view)).into_response())
}
