//! Rendering of mails: the compiled-in templates and their values.

use askama::Template as _;
use store::{
    customers::Account,
    domain::{Address, Currency, Order},
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
    number: String,
    lines: Vec<OrderLine<'a>>,
    total: String,
    is_free: bool,
    refunded: String,
    address: Option<&'a Address>,
}

struct OrderLine<'a> {
    name: &'a str,
    quantity: u32,
    total: String,
}

pub(super) fn render(mail: &Mail<'_>, storefront: Option<&Url>) -> Result<Shown, askama::Error> {
    match *mail {
        Mail::Order { order, template, shop } => render_order(order, template, shop),
        Mail::Welcome { account, shop } => render_welcome(account, shop),
        Mail::Verification { verification, account, token, shop } => {
            render_verification(verification, account, token, shop, storefront)
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
    let view = VerificationView {
        shop,
        subject: &subject,
        customer: account.map_or("", |account| &account.customer.name),
        email: &verification.email,
        is_known,
        is_reset,
        token,
        link: storefront.map(link),
    };
    shown!(view: VerificationView, "verification.txt", "verification.html")
}

fn render_welcome(account: &Account, shop: &str) -> Result<Shown, askama::Error> {
    let subject = if shop.is_empty() { "Welcome".to_owned() } else { format!("Welcome to {shop}") };
    let customer = &account.customer;
    let view = Welcome { shop, subject: &subject, customer: &customer.name, email: &customer.email };
    shown!(view: Welcome, "welcome.txt", "welcome.html")
}

fn render_order(order: &Order, template: Template, shop: &str) -> Result<Shown, askama::Error> {
    let number = order.reference.clone().unwrap_or_else(|| order.id.to_string());
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
        customer: &order.customer.name,
        number,
        lines: lines(order, order.currency),
        total: format_amount(order.total_minor, order.currency),
        is_free: order.total_minor == 0,
        refunded: format_amount(refunded_minor, order.currency),
        address: order.shipping_address.as_ref(),
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
    order.lines.iter().map(|l| OrderLine { name: &l.name, quantity: l.quantity, total: line(l) }).collect()
}
