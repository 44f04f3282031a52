//! Carts: creating, reading and changing them; ordering them is in `checkout`, reserving their items in `reservation`,
//! their price in `quote`, the customer's own one in `customer`.

mod checkout;
mod customer;
mod named;
mod priced;
mod quote;
mod request;
mod reservation;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use store::{
    catalog::Product,
    domain::{CartId, MerchantId},
    orders::Refusal,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    named::NamedCart,
    priced::view,
    request::{CartCreate, CartItemPut},
};
use super::orders::place::refused;
use crate::{
    carts::{Cart, CartRef},
    input::{Body, PathText, is_sku},
    limits::NewCartCaller,
    problem::{Kind, Problem},
    routes::order_fields::{Lines, merge},
    state::ApiState,
    view::CartView,
};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create_cart))
        .routes(routes!(get_cart))
        .routes(routes!(put_item))
        .routes(routes!(reservation::reserve_cart, reservation::release_cart))
        .routes(routes!(quote::quote_cart))
        .routes(routes!(checkout::checkout))
        .routes(routes!(customer::open_cart))
}

/// Make a cart
///
/// A cart lives for a day, and for 14 days after each change. Made in a session, it belongs to that customer and is
/// found in that customer's sessions only.
#[utoipa::path(
    post, path = "/v1/carts", tag = "carts",
    params(("Orderworks-Session" = Option<String>, Header, description = "`ows_…`")),
    request_body(content = Option<CartCreate>),
    responses(
        (status = 201, description = "Made", body = CartView, headers(("Location" = String, description = "The cart"))),
    ),
)]
async fn create_cart(
    State(state): State<ApiState>,
    NewCartCaller(key): NewCartCaller,
    headers: HeaderMap,
    body: Body<CartCreate>,
) -> Result<Response, Problem> {
    let place = CartRef::of(&state, &key, &headers, CartId::fresh(&state.ambient)).await?;
    let items = merge(body.value.items.unwrap_or_default()).map_err(|fault| Problem::invalid(vec![fault]))?;
    let mut cart = Cart::new(body.value.currency, place.customer);
    fill(&state, key.merchant, &mut cart, &items).await?;
    place.create(&mut cart).await?;
    let location = [(header::LOCATION, format!("/v1/carts/{}", place.id))];
    Ok((StatusCode::CREATED, location, Json(view(&place, cart).await?)).into_response())
}

/// Puts the requested items into a new cart, or names every item that cannot be added.
async fn fill(state: &ApiState, merchant: MerchantId, cart: &mut Cart, items: &Lines) -> Result<(), Problem> {
    let mut refusals = Vec::new();
    for (line, wanted) in items.lines.iter().enumerate() {
        let product = state.catalog.product(merchant, &wanted.sku).await?;
        let expected = cart.currency.or(product.as_ref().map(|product| product.currency));
        match product {
            None => refusals.push(Refusal::UnknownSku { line }),
            Some(product) if expected != Some(product.currency) => {
                refusals.push(Refusal::WrongCurrency { line, expected: product.currency });
            }
            Some(product) => cart.set(&wanted.sku, wanted.quantity, product.currency)?,
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(refused(&refusals, &items.item_of_line)) }
}

/// Read a cart
///
/// A cart with a customer is found in that customer's sessions only, or with a secret key.
#[utoipa::path(
    get, path = "/v1/carts/{id}", tag = "carts",
    params(
        ("id" = String, Path, description = "`cart_…`"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    responses((status = 200, description = "The cart", body = CartView)),
)]
async fn get_cart(named: NamedCart) -> Result<Json<CartView>, Problem> {
    let place = named.place().await?;
    let (cart, _) = place.load().await?;
    Ok(Json(view(&place, cart).await?))
}

/// Set how many of a product are in a cart
///
/// `available` tells how many could be ordered now; a reservation of the cart is given up. In a session a cart without
/// a customer becomes that customer's **under a new id**, which `id` and `Content-Location` tell; the old id is not
/// found any more.
#[utoipa::path(
    put, path = "/v1/carts/{id}/items/{sku}", tag = "carts",
    params(
        ("id" = String, Path, description = "`cart_…`"),
        ("sku" = String, Path, description = "Stock keeping unit"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    request_body = CartItemPut,
    responses(
        (status = 200, description = "The changed cart", body = CartView, headers(
            ("Content-Location" = String, description = "The cart, under a new id when it was taken over"),
        )),
        (status = 409, description = "Ordered, being ordered, or changed by others all the time"),
        (status = 422, description = "No such product, or in another currency"),
    ),
)]
async fn put_item(
    named: NamedCart,
    PathText((_id, sku)): PathText<(String, String)>,
    body: Body<CartItemPut>,
) -> Result<Response, Problem> {
    let place = named.place().await?;
    let quantity = body.value.quantity;
    // First, so that a missing cart looks the same whatever is put into it.
    place.load().await?;
    let product = if quantity == 0 { None } else { Some(sold(place.state, place.merchant, &sku).await?) };
    let edit = |cart: &mut Cart| {
        let Some(product) = &product else {
            cart.remove(&sku);
            return Ok(());
        };
        cart.set(&sku, quantity, product.currency)
    };
    let (place, cart) = place.change(edit).await?;
    let location = [(header::CONTENT_LOCATION, format!("/v1/carts/{}", place.id))];
    Ok((location, Json(view(&place, cart).await?)).into_response())
}

async fn sold(state: &ApiState, merchant: MerchantId, sku: &str) -> Result<Product, Problem> {
    let found = if is_sku(sku) { state.catalog.product(merchant, sku).await? } else { None };
    found.ok_or_else(|| Problem::new(Kind::UNKNOWN_SKU, "the path names no product of the catalog"))
}
