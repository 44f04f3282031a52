//! Rendering of mails: the compiled-in templates and their values.

use askama::Template as _;
use store::domain::{Address, Currency, Order};
use url::Url;

use super::{
    amount::format_amount,
    kind::{Mail, OrderMail, Template, VerificationMail, WelcomeMail},
};

/// A rendered mail.
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
    refunded: String,
    address: Option<&'a Address>,
}

struct OrderLine<'a> {
    name: &'a str,
    quantity: u32,
    total: String,
}

pub(super) fn render(mail: &Mail<'_>, storefront: Option<&Url>) -> Result<Shown, askama::Error> {
    match mail {
        Mail::Order(mail) => render_order(mail),
        Mail::Welcome(mail) => render_welcome(mail),
        Mail::Verification(mail) => render_verification(mail, storefront),
    }
}

fn render_verification(
    mail: &VerificationMail<'_>,
    storefront: Option<&Url>,
) -> Result<Shown, askama::Error> {
    let (is_known, is_reset) = (mail.is_known(), mail.verification.purpose.is_reset());
    let (what, page) = match (is_known, is_reset) {
        (true, _) => ("Your account", ""),
        (_, true) => ("Reset your password", "reset"),
        _ => ("Confirm your address", "verify"),
    };
    let subject = if mail.shop.is_empty() { what.to_owned() } else { format!("{what} at {}", mail.shop) };
    let (customer, token) = (mail.account.map(|account| &account.customer), mail.token.expose());
    let link = |url: &Url| format!("{}/account/{page}?token={token}", url.as_str().trim_end_matches('/'));
    let view = VerificationView {
        shop: mail.shop,
        subject: &subject,
        customer: customer.map_or("", |customer| &customer.name),
        email: &mail.verification.email,
        is_known,
        is_reset,
        token,
        link: storefront.map(link),
    };
    shown!(view: VerificationView, "verification.txt", "verification.html")
}

fn render_welcome(mail: &WelcomeMail<'_>) -> Result<Shown, askama::Error> {
    let subject =
        if mail.shop.is_empty() { "Welcome".to_owned() } else { format!("Welcome to {}", mail.shop) };
    let customer = &mail.account.customer;
    let view =
        Welcome { shop: mail.shop, subject: &subject, customer: &customer.name, email: &customer.email };
    shown!(view: Welcome, "welcome.txt", "welcome.html")
}

fn render_order(mail: &OrderMail<'_>) -> Result<Shown, askama::Error> {
    let order = mail.order;
    let number = order.reference.clone().unwrap_or_else(|| order.id.to_string());
    let subject = subject(mail.template, &number, mail.shop);
    let view = View {
        template: mail.template,
        shop: mail.shop,
        subject: &subject,
        customer: &order.customer.name,
        number,
        lines: lines(order, order.currency),
        total: format_amount(order.total_minor, order.currency),
        refunded: format_amount(order.refunded_minor, order.currency),
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
    };
    if shop.is_empty() { format!("{what} {number}") } else { format!("{what} {number} at {shop}") }
}

fn lines(order: &Order, currency: Currency) -> Vec<OrderLine<'_>> {
    let line = |line: &'_ store::domain::OrderLine| format_amount(line.total_minor, currency);
    order.lines.iter().map(|l| OrderLine { name: &l.name, quantity: l.quantity, total: line(l) }).collect()
}
