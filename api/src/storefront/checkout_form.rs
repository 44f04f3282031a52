//! The form of the checkout, fresh or as it was sent.

use axum::response::Response;
use http::StatusCode;

use super::{
    cookies::Cookie,
    form::FormFields,
    html::{Frame, html},
    lines::{of_adjustments, of_cart},
    money::money,
    pages::{CheckoutPage, Field, PaymentChoice},
    reservation,
    texts::{Texts, filled},
    views::{Account, Cart, Quote},
    visit::{Visit, is_id},
};

/// Begin of the tokens of payment providers. No other text is shown again: it may be the number of a card.
const TOKEN: &str = "pm_";

/// What a form holds, and what the visitor has to know of it.
pub(super) struct Draft<'a> {
    /// Idempotency key.
    pub(super) key: String,
    /// Proof of work that the script has found; empty where there is none.
    pub(super) proof: &'a str,
    pub(super) fields: Option<&'a FormFields>,
    pub(super) note: String,
    /// Pointers of the fields at fault.
    pub(super) wrong: Vec<String>,
    /// The total to agree to, and what it is made of; `None`: the sum of the cart.
    pub(super) quote: Option<Quote>,
    pub(super) proof_bits: u32,
}

impl<'a> Draft<'a> {
    pub(super) fn fresh(visit: &Visit) -> Self {
        Self::new(visit.fresh_id(), "", None)
    }

    /// As it was sent; without a usable key it gets a fresh one.
    pub(super) fn sent(visit: &Visit, fields: &'a FormFields) -> Self {
        let key = fields.get("key");
        let key = if is_id(key) { key.to_owned() } else { visit.fresh_id() };
        Self::new(key, fields.get("proof"), Some(fields))
    }

    fn new(key: String, proof: &'a str, fields: Option<&'a FormFields>) -> Self {
        Self { key, proof, fields, note: String::new(), wrong: Vec::new(), quote: None, proof_bits: 0 }
    }

    fn value(&self, name: &str) -> &str {
        self.fields.map(|fields| fields.get(name)).unwrap_or_default()
    }

    fn is_wrong(&self, pointer: &str) -> bool {
        self.wrong.iter().any(|wrong| wrong == pointer)
    }

    fn field(
        &self,
        parent: &str,
        [name, kind, autocomplete]: [&'static str; 3],
        label: &'static str,
    ) -> Field {
        let (value, is_wrong) = (self.value(name).to_owned(), self.is_wrong(&format!("{parent}/{name}")));
        Field { name, label, kind, autocomplete, value, is_wrong }
    }
}

/// The page of the checkout. The browser gets an id of its device with it, where it has none.
pub(super) fn render(
    visit: &Visit,
    status: StatusCode,
    cart: Cart,
    account: Option<Account>,
    draft: &Draft<'_>,
) -> Response {
    let t = visit.texts();
    let reserved_until = reservation::told(visit, &cart);
    let Cart { id, currency, items, total_minor, .. } = cart;
    let currency = currency.unwrap_or_default();
    let quote = draft.quote.as_ref();
    let total_minor = quote.map_or(total_minor, |quote| quote.total_minor);
    let adjustments = quote.map(|quote| of_adjustments(visit, &quote.adjustments, &currency));
    let total = money(total_minor, &currency, visit.language);
    let token = draft.value("payment");
    let page = CheckoutPage {
        frame: Frame::new(visit, t.checkout),
        lines: of_cart(visit, items, &currency),
        adjustments: adjustments.unwrap_or_default(),
        pay: filled(t.pay, &total),
        total,
        total_minor,
        key: draft.key.clone(),
        cart: id,
        contact: if account.is_some() { Vec::new() } else { contact(draft, t) },
        signed_in_as: account.map(|account| filled(t.signed_in_as, account.email)).unwrap_or_default(),
        address: address(draft, t),
        payments: payments(visit, token),
        payment_token: if token.starts_with(TOKEN) { token.to_owned() } else { String::new() },
        is_payment_wrong: draft.is_wrong("/payment_method"),
        note: draft.note.clone(),
        reserved_until,
        proof_bits: draft.proof_bits,
    };
    let mut response = html(status, &page);
    if !visit.has_device {
        visit.set(&mut response, Cookie::Device, &visit.fresh_id());
    }
    response
}

fn contact(draft: &Draft<'_>, t: &Texts) -> Vec<Field> {
    vec![
        draft.field("/customer", ["email", "email", "email"], t.email),
        draft.field("/customer", ["name", "text", "name"], t.name),
    ]
}

fn address(draft: &Draft<'_>, t: &Texts) -> Vec<Field> {
    let field = |names, label| draft.field("/shipping_address", names, label);
    vec![
        field(["line1", "text", "address-line1"], t.line1),
        field(["postal_code", "text", "postal-code"], t.postal_code),
        field(["city", "text", "address-level2"], t.city),
        field(["country", "text", "country"], t.country),
    ]
}

fn payments(visit: &Visit, chosen: &str) -> Vec<PaymentChoice> {
    let t = visit.texts();
    let choice = |token: &String| PaymentChoice {
        label: match token.as_str() {
            "pm_card_visa" => t.card_good.to_owned(),
            "pm_card_chargeDeclined" => t.card_declined.to_owned(),
            "pm_sandbox_slow" => t.card_slow.to_owned(),
            other => other.to_owned(),
        },
        is_chosen: token == chosen,
        token: token.clone(),
    };
    visit.shop.config.payment_methods.iter().map(choice).collect()
}
