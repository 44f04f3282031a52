//! `POST /v1/carts/{id}/quote`: what an order of the cart would come to, as the shop's hooks decide.

use axum::{Extension, Json};
use base::TraceContext;
use store::{
    domain::Address,
    orders::{NewLine, Refusal},
};

use super::{named::NamedCart, request::CartQuote};
use crate::{
    carts::CartItem,
    input::Body,
    pricing::{self, PricingOutcome, ToPrice},
    problem::{Kind, Problem},
    routes::orders::place::refused,
    view::QuoteView,
};

/// Price a cart
///
/// The total of an order of this cart to this address at this moment, with the discounts, shipping and taxes of shops
/// that have hooks for them. Nothing is reserved or promised: send `total_minor` as `expected_total_minor` with the
/// checkout, which is refused where it has changed.
#[utoipa::path(
    post, path = "/v1/carts/{id}/quote", tag = "carts",
    params(
        ("id" = String, Path, description = "`cart_…`"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    request_body(content = Option<CartQuote>),
    responses(
        (status = 200, description = "The quote", body = QuoteView),
        (status = 409, description = "Ordered, or being ordered"),
        (status = 422, description = "Not valid, empty, a product is not sold any more, or the total is too large"),
    ),
)]
pub(super) async fn quote_cart(
    named: NamedCart,
    Extension(trace): Extension<TraceContext>,
    body: Body<CartQuote>,
) -> Result<Json<QuoteView>, Problem> {
    let place = named.place().await?;
    let (state, merchant) = (place.state, place.merchant);
    let (cart, _) = place.load().await?;
    place.expect_open(&cart).await?;
    let Some(currency) = cart.currency.filter(|_| !cart.items.is_empty()) else {
        return Err(Problem::new(Kind::CART_EMPTY, "put something into it first"));
    };
    let lines: Vec<NewLine> = cart.items.iter().map(CartItem::line).collect();
    let address = body.value.shipping_address.map(Address::from);
    let (lines, address, trace) = (&lines[..], address.as_ref(), Some(&trace));
    let wanted = ToPrice { merchant, currency, lines, address, trace };
    let settings = state.checkout_settings(merchant).await?;
    let refusals = match pricing::price(state, &settings, wanted).await? {
        PricingOutcome::Priced(pricing) => match pricing.total_minor() {
            Some(total_minor) => return Ok(Json(QuoteView::new(currency, &pricing, total_minor))),
            None => vec![Refusal::TotalTooLarge],
        },
        PricingOutcome::Refused(refusals) => refusals,
    };
    Err(refused(&refusals, &[]))
}
