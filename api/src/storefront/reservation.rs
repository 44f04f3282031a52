//! Reservation of the cart at the checkout, for shops that reserve stock for carts.
//!
//! Guarantees: the goods are reserved before the form is shown, by the public API as any other client does it; loading
//! the page again does not move the end while it runs. Where they cannot be reserved, the visitor gets the cart with
//! what is wrong. Does not give a reservation up: a change of the cart does, and the order takes it over. See
//! [`crate::carts`].

use std::ops::ControlFlow;

use axum::response::Response;
use http::{HeaderMap, Method};

use super::{cart, public_api::Refusal, texts::filled, views::Cart, visit::Visit};

/// The cart as it is after an attempt to reserve it. Breaks with a page where items cannot be had.
pub(super) async fn of(visit: &Visit, cart: Cart) -> Result<ControlFlow<Response, Cart>, Refusal> {
    let path = format!("/v1/carts/{}/reservation", cart.id);
    let refusal = match visit.api.send(Method::POST, &path, None, HeaderMap::new()).await {
        Ok(answer) => return answer.read().map(ControlFlow::Continue),
        Err(refusal) => refusal,
    };
    let t = visit.texts();
    let note = match refusal.code.as_str() {
        // Faults of several kinds are no fault of a field: the request has none.
        "out_of_stock" | "unknown_sku" | "validation_failed" => t.stock_changed,
        "wrong_currency" => t.other_currency,
        // The shop reserves nothing, or cannot now: the order looks at the stock in any case.
        _ => return Ok(ControlFlow::Continue(cart)),
    };
    cart::page(visit, refusal.status, note).await.map(ControlFlow::Break)
}

/// Until when the goods are reserved, in words; empty without a reservation.
pub(super) fn told(visit: &Visit, cart: &Cart) -> String {
    let until =
        cart.reserved_until.map(|until| filled(visit.texts().reserved_until, until.strftime("%R UTC")));
    until.unwrap_or_default()
}
