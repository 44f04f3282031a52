//! Quote of the cart at the checkout: its total with the discounts, shipping and taxes that the shop's hooks decide.
//!
//! Does not promise the total: the form carries it, and an order at another one is not placed. Without a quote the page
//! shows the sum of the cart, which the order then has to come to.

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::{
    public_api::{ORDERS_WAIT, Refusal},
    views::Quote,
    visit::Visit,
};

/// What an order of the cart comes to, at this address where it is valid; `None` where the shop cannot tell now.
pub(super) async fn of(visit: &Visit, cart: &str, address: Option<&Value>) -> Option<Quote> {
    let path = format!("/v1/carts/{cart}/quote");
    let at_address = address.map(|address| json!({ "shipping_address": address }));
    for body in at_address.into_iter().chain([json!({})]) {
        match visit.api.send(Method::POST, &path, Some(&body), HeaderMap::new()).await {
            Ok(answer) => return answer.read().ok(),
            // The form tells what is wrong with the address.
            Err(refusal) if refusal.status == StatusCode::UNPROCESSABLE_ENTITY => {}
            Err(_) => return None,
        }
    }
    None
}

/// The quote to show after this answer to an order. While it is not known whether the order was placed, the form keeps
/// the total that it was sent with: it has to be the same request again. So it does where hooks are not to be asked:
/// they have just failed, or orders wait.
pub(super) async fn after(visit: &Visit, cart: &str, body: &Value, refusal: &Refusal) -> Option<Quote> {
    let may_ask = !["pricing_unavailable", ORDERS_WAIT].contains(&refusal.code.as_str());
    let quoted = if may_ask { of(visit, cart, body.get("shipping_address")).await } else { None };
    let bare = |total_minor| Quote { adjustments: Vec::new(), total_minor };
    if may_ask && !refusal.is_unknown() {
        return quoted.or(refusal.total_minor.map(bare));
    }
    let agreed = body.get("expected_total_minor").and_then(Value::as_i64)?;
    Some(quoted.filter(|quote| quote.total_minor == agreed).unwrap_or_else(|| bare(agreed)))
}
