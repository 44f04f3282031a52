//! Checkout: the form that orders a cart, and the order that follows from it.
//!
//! Guarantees: a form places one order at most, however often and from however many tabs it is sent: it carries the
//! idempotency key that was made with the page, and a cart becomes one order. The order is placed at the total that the
//! page showed, or not at all. A second request waits for the first one. What was typed stays in the form, but for what
//! may be a card number. Where the shop reserves stock for carts, the page does so, see [`reservation`].

use std::{ops::ControlFlow, time::Duration};

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    cart,
    checkout_form::{Draft, render},
    cookies::{Cookie, KnownOrder, with_order},
    form::FormFields,
    html::{finish, go_to},
    money::money,
    public_api::{Answer, ORDERS_WAIT, Refusal},
    quote, reservation,
    texts::filled,
    views::{Account, Order},
    visit::{Visit, is_id},
    waiting,
};

/// How long a request waits for another one of the same order or cart, and how often it asks. Together less than the
/// deadline of a request.
const WAIT: Duration = Duration::from_millis(300);
const WAITS_MAX: u32 = 20;

pub(super) async fn show(visit: Visit) -> Response {
    let answered = async {
        match cart::open(&visit).await? {
            Some(cart) if !cart.items.is_empty() => {
                if let Some(response) = waiting::before_checkout(&visit).await? {
                    return Ok(response);
                }
                let account = account(&visit).await?;
                let cart = match reservation::of(&visit, cart).await? {
                    ControlFlow::Continue(cart) => cart,
                    ControlFlow::Break(page) => return Ok(page),
                };
                let quote = quote::of(&visit, &cart.id, None).await;
                let draft = Draft { quote, ..Draft::fresh(&visit) };
                Ok(render(&visit, StatusCode::OK, cart, account, &draft))
            }
            _ => Ok(go_to("/cart")),
        }
    };
    finish(&visit, answered.await)
}

pub(super) async fn pay(visit: Visit, fields: FormFields) -> Response {
    let answered = async {
        let cart = fields.get("cart");
        if !is_id(cart) {
            return Err(Refusal::not_found());
        }
        let account = account(&visit).await?;
        let (draft, body) = (Draft::sent(&visit, &fields), body(&fields, account.as_ref()));
        let answered = attempt(&visit, cart, &draft, &body).await;
        match answered {
            Ok(answer) => ordered(&visit, cart, answer),
            Err(refusal) => refused(&visit, cart, (account, &body), draft, refusal).await,
        }
    };
    finish(&visit, answered.await)
}

/// The customer who is signed in.
async fn account(visit: &Visit) -> Result<Option<Account>, Refusal> {
    if !visit.is_signed_in {
        return Ok(None);
    }
    visit.api.get("/v1/customers/current").await.map(Some)
}

fn body(fields: &FormFields, account: Option<&Account>) -> Value {
    let name = account.map_or(fields.get("name"), |account| account.name.as_str());
    let mut body = json!({
        "payment_method": fields.get("payment"),
        "shipping_address": {
            "name": name,
            "line1": fields.get("line1"),
            "city": fields.get("city"),
            "postal_code": fields.get("postal_code"),
            "country": fields.get("country").to_uppercase(),
        },
    });
    if account.is_none() {
        body["customer"] = json!({ "email": fields.get("email"), "name": name });
    }
    if let Ok(expected) = fields.get("expected").parse::<i64>() {
        body["expected_total_minor"] = json!(expected);
    }
    body
}

/// Orders the cart. Waits while another request of the same order or cart has no answer yet.
async fn attempt(visit: &Visit, cart: &str, draft: &Draft<'_>, body: &Value) -> Result<Answer, Refusal> {
    let path = format!("/v1/carts/{cart}/checkout");
    let mut headers = HeaderMap::new();
    for (name, value) in [("idempotency-key", draft.key.as_str()), ("orderworks-proof", draft.proof)] {
        if let Ok(value) = HeaderValue::from_str(value)
            && !value.is_empty()
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let mut waits = 0;
    loop {
        match visit.api.send(Method::POST, &path, Some(body), headers.clone()).await {
            Err(refusal) if refusal.is_in_flight() && waits < WAITS_MAX => waits += 1,
            answered => return answered,
        }
        tokio::time::sleep(WAIT).await;
    }
}

/// Leads to the order, whose token the browser keeps.
fn ordered(visit: &Visit, cart: &str, answer: Answer) -> Result<Response, Refusal> {
    let token = answer.header("orderworks-order-token").to_owned();
    let order: Order = answer.read()?;
    let mut response = go_to(&format!("/o/{}", order.id));
    let known = KnownOrder { id: order.id, token, cart: cart.to_owned() };
    visit.set(&mut response, Cookie::Orders, &with_order(&visit.orders, known));
    if visit.cart.as_deref() == Some(cart) {
        visit.clear(&mut response, Cookie::Cart);
    }
    Ok(response)
}

async fn refused(
    visit: &Visit,
    cart: &str,
    (account, body): (Option<Account>, &Value),
    draft: Draft<'_>,
    refusal: Refusal,
) -> Result<Response, Refusal> {
    match refusal.code.as_str() {
        "session_invalid" => return Err(refusal),
        // The place has served, or the sale has begun meanwhile.
        "waiting_room" => return Ok(go_to("/checkout")),
        "cart_closed" => return closed(visit, cart, refusal.status).await,
        "cart_empty" | "not_found" => return Ok(go_to("/cart")),
        _ => {}
    }
    let Some(cart) = cart::by_id(visit, cart).await? else { return Ok(go_to("/cart")) };
    let currency = cart.currency.clone().unwrap_or_default();
    let quote = quote::after(visit, &cart.id, body, &refusal).await;
    let draft = noted(visit, Draft { quote, ..draft }, &refusal, &currency);
    let mut response = render(visit, refusal.status, cart, account, &draft);
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// The order that the cart has become, as far as this browser may see it.
async fn closed(visit: &Visit, cart: &str, status: StatusCode) -> Result<Response, Refusal> {
    if let Some(known) = visit.orders.iter().find(|known| known.cart == cart) {
        return Ok(go_to(&format!("/o/{}", known.id)));
    }
    let order = cart::by_id(visit, cart).await?.and_then(|cart| cart.order);
    match order {
        Some(order) => Ok(go_to(&format!("/o/{order}"))),
        None => cart::page(visit, status, visit.texts().cart_ordered).await,
    }
}

/// The form again, with what the visitor has to know.
fn noted<'a>(visit: &Visit, draft: Draft<'a>, refusal: &Refusal, currency: &str) -> Draft<'a> {
    let t = visit.texts();
    let total = draft.quote.as_ref().map(|quote| quote.total_minor);
    let note = match (refusal.code.as_str(), total) {
        ("price_changed", Some(total)) => filled(t.price_changed, money(total, currency, visit.language)),
        ("out_of_stock" | "unknown_sku", _) => t.stock_changed.to_owned(),
        ("wrong_currency", _) => t.other_currency.to_owned(),
        ("validation_failed" | "card_number_not_accepted", _) => t.check_fields.to_owned(),
        ("proof_of_work_required", _) => t.proof_wait.to_owned(),
        ("rate_limited", _) => t.busy.to_owned(),
        (ORDERS_WAIT, _) => match refusal.retry_after {
            Some(seconds) => filled(t.orders_wait, seconds),
            None => t.busy.to_owned(),
        },
        ("pricing_unavailable", _) => t.no_price.to_owned(),
        ("idempotency_key_reused", _) => t.not_sure.to_owned(),
        _ if refusal.is_unknown() => t.not_sure.to_owned(),
        _ => t.refused.to_owned(),
    };
    // While it is not known whether the order was placed, the key stays; a refused one is done with.
    let key = if refusal.is_unknown() { draft.key } else { visit.fresh_id() };
    Draft { key, note, wrong: refusal.pointers.clone(), proof_bits: refusal.proof_bits.unwrap_or(0), ..draft }
}
