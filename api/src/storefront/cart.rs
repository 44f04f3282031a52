//! The cart: its page, and forms that add, change and remove products.
//!
//! A cart is one of the API; the browser holds its id in a cookie. A customer who signs in takes the guest's cart
//! along, see [`super::account`].

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use super::{
    cookies::Cookie,
    form::FormFields,
    html::{Frame, finish, go_to, html},
    lines::of_cart,
    money::money,
    pages::CartPage,
    public_api::Refusal,
    views::Cart,
    visit::{Visit, is_id},
};

/// Units of a product in a cart at most, as the API has it.
const QUANTITY_MAX: u32 = 10_000;

pub(super) async fn show(visit: Visit) -> Response {
    let answered = async { page(&visit, StatusCode::OK, "").await };
    finish(&visit, answered.await)
}

/// Adds so many of a product, to those that are there.
pub(super) async fn add(visit: Visit, fields: FormFields) -> Response {
    let (sku, quantity) = (fields.get("sku"), quantity(&fields));
    let changed = match quantity {
        Some(quantity) if quantity > 0 && is_id(sku) => add_to_cart(&visit, sku, quantity).await,
        _ => Err(Refusal::not_found()),
    };
    finish(&visit, told(&visit, changed).await)
}

/// Sets how many of a product are in the cart; 0 removes it.
pub(super) async fn change(visit: Visit, fields: FormFields) -> Response {
    let changed = match (quantity(&fields), &visit.cart) {
        (Some(quantity), Some(cart)) if is_id(fields.get("sku")) => {
            put(&visit, cart, fields.get("sku"), quantity).await
        }
        _ => Err(Refusal::not_found()),
    };
    finish(&visit, told(&visit, changed).await)
}

fn quantity(fields: &FormFields) -> Option<u32> {
    fields.get("quantity").parse().ok().filter(|quantity| *quantity <= QUANTITY_MAX)
}

async fn add_to_cart(visit: &Visit, sku: &str, quantity: u32) -> Result<Cart, Refusal> {
    let Some(cart) = open(visit).await? else { return begin(visit, sku, quantity).await };
    let there = cart.items.iter().find(|item| item.sku == sku).map_or(0, |item| item.quantity);
    put(visit, &cart.id, sku, there.saturating_add(quantity).min(QUANTITY_MAX)).await
}

async fn put(visit: &Visit, cart: &str, sku: &str, quantity: u32) -> Result<Cart, Refusal> {
    let (path, body) = (format!("/v1/carts/{cart}/items/{sku}"), json!({ "quantity": quantity }));
    visit.api.send(Method::PUT, &path, Some(&body), HeaderMap::new()).await?.read()
}

async fn begin(visit: &Visit, sku: &str, quantity: u32) -> Result<Cart, Refusal> {
    if visit.is_signed_in {
        let path = "/v1/customers/current/cart";
        let own = visit.api.send(Method::POST, path, Some(&json!({})), HeaderMap::new()).await?;
        let own: Cart = own.read()?;
        let there = own.items.iter().find(|item| item.sku == sku).map_or(0, |item| item.quantity);
        return put(visit, &own.id, sku, there.saturating_add(quantity).min(QUANTITY_MAX)).await;
    }
    let body = json!({ "items": [{ "sku": sku, "quantity": quantity }] });
    visit.api.send(Method::POST, "/v1/carts", Some(&body), HeaderMap::new()).await?.read()
}

/// The visitor's cart while it can be changed; `None` where there is none.
pub(super) async fn open(visit: &Visit) -> Result<Option<Cart>, Refusal> {
    let Some(id) = &visit.cart else { return Ok(None) };
    Ok(by_id(visit, id).await?.filter(|cart| cart.status == "open"))
}

/// A cart that the visitor may see, open or ordered.
pub(super) async fn by_id(visit: &Visit, id: &str) -> Result<Option<Cart>, Refusal> {
    match visit.api.get::<Cart>(&format!("/v1/carts/{id}")).await {
        Ok(cart) => Ok(Some(cart)),
        Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// The cart after a change, under its id, which may be new; or the page with what is wrong.
async fn told(visit: &Visit, changed: Result<Cart, Refusal>) -> Result<Response, Refusal> {
    let t = visit.texts();
    let refusal = match changed {
        Ok(cart) => {
            let mut response = go_to("/cart");
            visit.set(&mut response, Cookie::Cart, &cart.id);
            return Ok(response);
        }
        Err(refusal) => refusal,
    };
    let note = match refusal.code.as_str() {
        "unknown_sku" => t.not_sold,
        "wrong_currency" => t.other_currency,
        "cart_full" => t.cart_full,
        "cart_busy" | "cart_in_checkout" => t.cart_changed,
        "cart_closed" => t.cart_ordered,
        _ => return Err(refusal),
    };
    page(visit, refusal.status, note).await
}

/// The page of the cart with a note above it, which may be empty.
pub(super) async fn page(visit: &Visit, status: StatusCode, note: &str) -> Result<Response, Refusal> {
    let t = visit.texts();
    let cart = open(visit).await?;
    let currency = cart.as_ref().and_then(|cart| cart.currency.clone()).unwrap_or_default();
    let total_minor = cart.as_ref().map_or(0, |cart| cart.total_minor);
    let page = CartPage {
        frame: Frame::new(visit, t.cart),
        lines: cart.map(|cart| of_cart(visit, cart.items, &currency)).unwrap_or_default(),
        total: money(total_minor, &currency, visit.language),
        note: note.to_owned(),
    };
    Ok(html(status, &page))
}
