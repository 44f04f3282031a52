//! The page of an order, its live events, and another attempt after a declined payment.
//!
//! The browser that placed the order holds its token in a cookie; a customer who is signed in needs none. Without
//! either the page shows the state, as the public API does, and no personal data.

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use super::{
    cookies::Cookie,
    form::FormFields,
    html::{Frame, finish, go_to, html},
    lines::{of_adjustments, of_order},
    money::money,
    pages::OrderPage,
    public_api::{Answer, Refusal},
    texts::Texts,
    views::{Address, Cart, Order},
    visit::{Visit, is_id},
};
use crate::input::PathText;

pub(super) async fn show(visit: Visit, PathText(id): PathText) -> Response {
    let answered = async {
        let order = read(&visit, &id).await?;
        let t = visit.texts();
        let page = OrderPage {
            frame: Frame::new(&visit, t.order),
            status: status(&order.status, t),
            is_final: !matches!(order.status.as_str(), "pending" | "paid"),
            has_failed: order.status == "payment_failed",
            is_live: visit.can_follow(&id),
            state: order.status,
            total: money(order.total_minor, &order.currency, visit.language),
            lines: of_order(&visit, order.items, &order.currency),
            adjustments: of_adjustments(&visit, &order.adjustments, &order.currency),
            address: order.shipping_address.map(address).unwrap_or_default(),
            id: order.id,
        };
        Ok(html(StatusCode::OK, &page))
    };
    finish(&visit, answered.await)
}

async fn read(visit: &Visit, id: &str) -> Result<Order, Refusal> {
    if !is_id(id) {
        return Err(Refusal::not_found());
    }
    let answer: Answer =
        visit.api.send(Method::GET, &format!("/v1/orders/{id}"), None, visit.token_of(id)).await?;
    answer.read()
}

/// The state in words.
pub(super) fn status(state: &str, t: &Texts) -> &'static str {
    match state {
        "paid" => t.paid,
        "fulfilled" => t.fulfilled,
        "payment_failed" => t.payment_failed,
        "cancelled" => t.cancelled,
        "refunded" => t.refunded,
        _ => t.pending,
    }
}

fn address(address: Address) -> Vec<String> {
    let Address { name, line1, city, postal_code, country } = address;
    vec![name, line1, format!("{postal_code} {city}"), country]
}

/// The event stream of the API, with the key and the token that a browser cannot send itself.
pub(super) async fn events(visit: Visit, PathText(id): PathText) -> Response {
    if !is_id(&id) {
        return finish(&visit, Err(Refusal::not_found()));
    }
    let path = format!("/v1/orders/{id}/events");
    visit.api.open(Method::GET, &path, None, visit.token_and_position_of(&id)).await
}

/// Puts the products of an order that was not paid into a new cart, at the prices of today.
pub(super) async fn retry(visit: Visit, PathText(id): PathText, _: FormFields) -> Response {
    let answered = async {
        let order = read(&visit, &id).await?;
        if order.status != "payment_failed" {
            return Ok(go_to(&format!("/o/{id}")));
        }
        let items: Vec<_> =
            order.items.iter().map(|item| json!({ "sku": item.sku, "quantity": item.quantity })).collect();
        let body = json!({ "items": items });
        let made = visit.api.send(Method::POST, "/v1/carts", Some(&body), HeaderMap::new()).await?;
        let cart: Cart = made.read()?;
        let mut response = go_to("/checkout");
        visit.set(&mut response, Cookie::Cart, &cart.id);
        Ok(response)
    };
    finish(&visit, answered.await)
}
