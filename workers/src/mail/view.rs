//! Rendering of mails: the compiled-in templates and their values.
//!
//! Texts of customers and merchants are isolated, so that none reorders or breaks the line it stands in.

use std::borrow::Cow;

use askama::Template as _;
use base::chars::isolated;
use store::{
    customers::Account,
    domain::{Address, Adjustment, Currency, Order},
    token::Token,
    verifications::Verification,
};
use url::Url;

use super::{
    amount::format_amount,
    kind::{Mail, Template},
};

pub(super) struct Shown {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// Renders the text and the HTML of a mail from the same values; the HTML template escapes them.
macro_rules! shown {
    ($view:ident: $values:ident, $text:tt, $html:tt) => {{
        #[derive(askama::Template)]
        #[template(path = $text)]
        struct Text<'a> {
            view: &'a $values<'a>,
        }
        #[derive(askama::Template)]
        #[template(path = $html)]
        struct Html<'a> {
            view: &'a $values<'a>,
        }
        let (text, html) = (Text { view: &$view }.render()?, Html { view: &$view }.render()?);
        Ok(Shown { subject: $view.subject.to_owned(), text, html })
    }};
}

struct VerificationView<'a> {
    shop: &'a str,
    subject: &'a str,
    customer: &'a str,
    email: &'a str,
    is_known: bool,
    is_reset: bool,
    token: &'a str,
    link: Option<String>,
}

struct Welcome<'a> {
    shop: &'a str,
    subject: &'a str,
    customer: &'a str,
    email: &'a str,
}

struct View<'a> {
    template: Template,
    shop: &'a str,
    subject: &'a str,
    customer: &'a str,
    number: &'a str,
    lines: Vec<OrderLine<'a>>,
    adjustments: Vec<AdjustmentLine<'a>>,
    total: String,
    is_free: bool,
    refunded: String,
    address: Option<Address>,
}

struct OrderLine<'a> {
    name: Cow<'a, str>,
    quantity: u32,
    total: String,
}

struct AdjustmentLine<'a> {
    label: Cow<'a, str>,
    amount: String,
}

pub(super) fn render(mail: &Mail<'_>, storefront: Option<&Url>) -> Result<Shown, askama::Error> {
    match *mail {
        Mail::Order { order, template, shop } => render_order(order, template, &isolated(shop)),
        Mail::Welcome { account, shop } => render_welcome(account, &isolated(shop)),
        Mail::Verification { verification, account, token, shop } => {
            render_verification(verification, account, token, &isolated(shop), storefront)
        }
    }
}

fn render_verification(
    verification: &Verification,
    account: Option<&Account>,
    token: &Token,
    shop: &str,
    storefront: Option<&Url>,
) -> Result<Shown, askama::Error> {
    let is_reset = verification.purpose.is_reset();
    let is_known = account.is_some() && !is_reset;
    let (what, page) = match (is_known, is_reset) {
        (true, _) => ("Your account", ""),
        (_, true) => ("Reset your password", "reset"),
        _ => ("Confirm your address", "verify"),
    };
    let subject = if shop.is_empty() { what.to_owned() } else { format!("{what} at {shop}") };
    let token = token.expose();
    let link = |url: &Url| format!("{}/account/{page}?token={token}", url.as_str().trim_end_matches('/'));
    let customer = isolated(account.map_or("", |account| &account.customer.name));
    let email = isolated(&verification.email);
    let view = VerificationView {
        shop,
        subject: &subject,
        customer: &customer,
        email: &email,
        is_known,
        is_reset,
        token,
        link: storefront.map(link),
    };
    shown!(view: VerificationView, "verification.txt", "verification.html")
}

fn render_welcome(account: &Account, shop: &str) -> Result<Shown, askama::Error> {
    let subject = if shop.is_empty() { "Welcome".to_owned() } else { format!("Welcome to {shop}") };
    let (customer, email) = (isolated(&account.customer.name), isolated(&account.customer.email));
    let view = Welcome { shop, subject: &subject, customer: &customer, email: &email };
    shown!(view: Welcome, "welcome.txt", "welcome.html")
}

fn render_order(order: &Order, template: Template, shop: &str) -> Result<Shown, askama::Error> {
    let number = order.reference.as_deref().map_or_else(|| Cow::Owned(order.id.to_string()), isolated);
    let customer = isolated(&order.customer.name);
    let subject = subject(template, &number, shop);
    let refunded_minor = if let Template::PartialRefund { amount_minor, .. } = template {
        amount_minor
    } else {
        order.refunded_minor
    };
    let view = View {
        template,
        shop,
        subject: &subject,
        customer: &customer,
        number: &number,
        lines: lines(order, order.currency),
        adjustments: adjustments(order),
        total: format_amount(order.total_minor, order.currency),
        is_free: order.total_minor == 0,
        refunded: format_amount(refunded_minor, order.currency),
        address: order.shipping_address.as_ref().map(address),
    };
    shown!(view: View, "mail.txt", "mail.html")
}

fn subject(template: Template, number: &str, shop: &str) -> String {
    let what = match template {
        Template::OrderConfirmation => "Your order",
        Template::PaymentFailed => "Payment failed for your order",
        Template::OrderCancelled => "Cancelled: your order",
        Template::OrderRefunded => "Refunded: your order",
        Template::PartialRefund { .. } => "Partly refunded: your order",
    };
    if shop.is_empty() { format!("{what} {number}") } else { format!("{what} {number} at {shop}") }
}

fn lines(order: &Order, currency: Currency) -> Vec<OrderLine<'_>> {
    let line = |line: &'_ store::domain::OrderLine| format_amount(line.total_minor, currency);
    order
        .lines
        .iter()
        .map(|l| OrderLine { name: isolated(&l.name), quantity: l.quantity, total: line(l) })
        .collect()
}

fn adjustments(order: &Order) -> Vec<AdjustmentLine<'_>> {
    let amount = |of: &Adjustment| format_amount(of.amount_minor, order.currency);
    let lines = order.adjustments.iter();
    lines.map(|of| AdjustmentLine { label: isolated(&of.label), amount: amount(of) }).collect()
}

fn address(of: &Address) -> Address {
    let part = |text: &String| isolated(text).into_owned();
    Address {
        name: part(&of.name),
        line1: part(&of.line1),
        line2: of.line2.as_ref().map(part),
        city: part(&of.city),
        postal_code: part(&of.postal_code),
        country: of.country.clone(),
    }
}
