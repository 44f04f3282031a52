//! `POST /v1/customers/current/cart`: the customer's own cart, with a guest's cart merged into it.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use store::domain::CartId;

use super::{priced::view, request::CartMerge};
use crate::{
    carts::CartRef,
    customer_cart,
    input::{Body, parse_id},
    limits::CartCaller,
    problem::Problem,
    sessions,
    state::ApiState,
    view::CartView,
};

/// Open the customer's cart
///
/// The cart of the customer who is signed in, the same in all sessions; it is made when there is none, or when the
/// former one was ordered. With `cart`, the items of that cart, such as a guest's, move into it: all of them, each
/// once, however often the request is repeated. Quantities of the same product are added up, to 10,000.
#[utoipa::path(
    post, path = "/v1/customers/current/cart", tag = "carts",
    params(("Orderworks-Session" = String, Header, description = "`ows_…`")),
    request_body(content = Option<CartMerge>),
    responses(
        (status = 200, description = "The customer's cart", body = CartView, headers(
            ("Content-Location" = String, description = "The cart"),
        )),
        (status = 404, description = "No such cart to merge"),
        (status = 409, description = "A cart is ordered, being ordered, or changed by others all the time"),
        (status = 422, description = "Not valid, or the items do not fit: another currency, too many products"),
    ),
)]
pub(super) async fn open_cart(
    State(state): State<ApiState>,
    CartCaller(key): CartCaller,
    headers: HeaderMap,
    body: Body<CartMerge>,
) -> Result<Response, Problem> {
    let owner = sessions::current(&state, key.merchant, &headers).await?.owner;
    let from = body.value.cart.map(|id| parse_id::<CartId>(&id, "cart")).transpose()?;
    let caller = CartRef::of_owner(&state, &key, owner);
    let (place, mut cart) = customer_cart::open(&caller, owner).await?;
    if let Some(from) = from {
        cart = customer_cart::merge(&place, from).await?;
    }
    let location = [(header::CONTENT_LOCATION, format!("/v1/carts/{}", place.id))];
    Ok((location, Json(view(&place, cart).await?)).into_response())
}
