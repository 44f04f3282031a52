//! Order token revocation: `DELETE /v1/orders/{id}/token`.

use axum::extract::State;
use http::StatusCode;
use store::domain::OrderId;

use crate::{
    auth::SecretKey,
    input::{PathText, parse_id},
    problem::Problem,
    state::ApiState,
};

/// Revoke the token of an order
///
/// Repeating the request changes nothing. A repeated order request issues a fresh token.
#[utoipa::path(
    delete, path = "/v1/orders/{id}/token", tag = "orders", security(("secret_key" = [])),
    params(("id" = String, Path, description = "`ord_…`")),
    responses((status = 204, description = "No token opens the order")),
)]
pub(super) async fn revoke_token(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(id): PathText,
) -> Result<StatusCode, Problem> {
    let id: OrderId = parse_id(&id, "order")?;
    let is_there = state.orders.replace_order_token(key.merchant, id, None).await?;
    if is_there { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("order")) }
}
