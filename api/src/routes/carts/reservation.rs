//! `POST` and `DELETE /v1/carts/{id}/reservation`: stock that is kept for a cart while its customer checks out.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::header;

use super::{named::NamedCart, priced::view};
use crate::{
    carts::CartReserved,
    problem::{Kind, Problem},
    routes::orders::place::refused,
    view::CartView,
};

/// Reserve the items of a cart
///
/// For shops that reserve stock for carts: all items are reserved until `reserved_until`, a time that the shop has set,
/// or none is. They are not sold to others meanwhile, and the cart's order takes them over. A repeated request does
/// not move that time while it runs. Any change of the cart gives the reservation up.
#[utoipa::path(
    post, path = "/v1/carts/{id}/reservation", tag = "carts",
    params(
        ("id" = String, Path, description = "`cart_…`"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    responses(
        (status = 200, description = "The cart, with its items reserved", body = CartView),
        (status = 409, description = "Out of stock, not done by this shop, ordered, being ordered, or changed by others all the time"),
        (status = 422, description = "Empty, or a product is not sold any more"),
    ),
)]
pub(super) async fn reserve_cart(named: NamedCart) -> Result<Json<CartView>, Problem> {
    let place = named.place().await?;
    // First, so that a missing cart looks the same whatever the shop has chosen.
    place.load().await?;
    let Some(span) = place.state.checkout_settings(place.merchant).await?.reserves_for() else {
        return Err(Problem::new(Kind::RESERVATIONS_OFF, "order the cart; stock is checked then"));
    };
    match place.reserve(span).await? {
        CartReserved::Reserved(cart) => Ok(Json(view(&place, *cart).await?)),
        CartReserved::Refused(refusals) => Err(refused(&refusals, &[])),
    }
}

/// Give up the reservation of a cart
///
/// Its items can be bought by others again. Without a reservation nothing changes.
#[utoipa::path(
    delete, path = "/v1/carts/{id}/reservation", tag = "carts",
    params(
        ("id" = String, Path, description = "`cart_…`"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    responses(
        (status = 200, description = "The cart, without a reservation", body = CartView, headers(
            ("Content-Location" = String, description = "The cart, under a new id when it was taken over"),
        )),
        (status = 409, description = "Ordered, being ordered, or changed by others all the time"),
    ),
)]
pub(super) async fn release_cart(named: NamedCart) -> Result<Response, Problem> {
    let place = named.place().await?;
    let (place, cart) = place.change(|_| Ok(())).await?;
    let location = [(header::CONTENT_LOCATION, format!("/v1/carts/{}", place.id))];
    Ok((location, Json(view(&place, cart).await?)).into_response())
}
