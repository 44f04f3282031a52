//! Request bodies of orders, cancellations and refunds.

use base::chars::is_format;
use email_address::{EmailAddress, Options};
use store::{
    domain::{AMOUNT_MINOR_MAX, Address, Currency, Customer},
    orders::NewLine,
};
use utoipa::ToSchema;

use super::country::is_country;
use crate::{
    input::{FromBody, Node},
    routes::catalog::is_sku,
};

pub(in crate::routes) const ITEMS_MAX: usize = 100;
pub(in crate::routes) const QUANTITY_MAX: u32 = 10_000;
pub(in crate::routes) const NAME_CHARS_MAX: usize = 200;
const REFERENCE_CHARS_MAX: usize = 100;
/// RFC 5321, section 4.5.3.1.3, without the angle brackets.
const EMAIL_BYTES_MAX: usize = 254;

/// Body of a new order, as it is read.
pub(super) struct OrderRequest {
    pub(super) customer: Customer,
    pub(super) currency: Currency,
    pub(super) lines: Vec<NewLine>,
    /// For each line the index of the first item it came from.
    pub(super) item_of_line: Vec<usize>,
    pub(super) payment_method: String,
    pub(super) shipping_address: Option<Address>,
    pub(super) reference: Option<String>,
}

/// A new order. Prices are the catalog's, never the client's.
#[derive(ToSchema)]
#[schema(as = OrderCreate)]
#[expect(dead_code, reason = "describes the body to readers; `OrderRequest` is what is read from it")]
pub(super) struct OrderSchema {
    customer: CustomerSchema,
    /// ISO 4217; the currency of every product in the order.
    #[schema(example = "EUR", pattern = "^[A-Z]{3}$")]
    currency: String,
    /// Quantities of items with the same sku are added up.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<ItemSchema>,
    /// The payment provider's token; never a card number.
    #[schema(example = "pm_card_visa", pattern = "^pm_[A-Za-z0-9_]{1,64}$")]
    payment_method: String,
    shipping_address: Option<AddressSchema>,
    /// The merchant's own number for the order.
    #[schema(min_length = 1, max_length = 100)]
    reference: Option<String>,
}

/// The customer.
#[derive(ToSchema)]
#[schema(as = OrderCreateCustomer)]
#[expect(dead_code, reason = "describes the body to readers")]
pub(in crate::routes) struct CustomerSchema {
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    email: String,
    #[schema(min_length = 1, max_length = 200, example = "Ada Lovelace")]
    name: String,
}

/// An ordered product.
#[derive(ToSchema)]
#[schema(as = OrderCreateItem)]
#[expect(dead_code, reason = "describes the body to readers")]
pub(in crate::routes) struct ItemSchema {
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$", example = "mug-blue")]
    sku: String,
    #[schema(minimum = 1, maximum = 10000, example = 2)]
    quantity: u32,
}

/// The shipping address.
#[derive(ToSchema)]
#[schema(as = OrderCreateAddress)]
#[expect(dead_code, reason = "describes the body to readers")]
pub(in crate::routes) struct AddressSchema {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(min_length = 1, max_length = 200)]
    line1: String,
    #[schema(min_length = 1, max_length = 200)]
    line2: Option<String>,
    #[schema(min_length = 1, max_length = 100)]
    city: String,
    #[schema(min_length = 1, max_length = 20)]
    postal_code: String,
    /// An assigned ISO 3166-1 alpha-2 code.
    #[schema(example = "DE", pattern = "^[A-Z]{2}$")]
    country: String,
}

impl FromBody for OrderRequest {
    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&[
            "customer",
            "currency",
            "items",
            "payment_method",
            "shipping_address",
            "reference",
        ])?;
        // All fields are read before any `?`, so that every fault is reported.
        let customer = customer(&body.field("customer"));
        let currency = body.field("currency").parsed();
        let lines = lines(&body.field("items"));
        let payment_method = payment_method(&body.field("payment_method"));
        let shipping_address = body.field("shipping_address").optional(address);
        let reference = body.field("reference").optional(reference);
        let (lines, item_of_line) = lines?;
        Some(Self {
            customer: customer?,
            currency: currency?,
            lines,
            item_of_line,
            payment_method: payment_method?,
            shipping_address,
            reference,
        })
    }
}

pub(in crate::routes) fn payment_method(node: &Node<'_>) -> Option<String> {
    let is_token = |text: &str| {
        let token = text.strip_prefix("pm_").unwrap_or_default();
        (1..=64).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    node.matching(is_token, "the payment provider's token, `pm_` and 1 to 64 letters, digits or underscores")
}

pub(in crate::routes) fn reference(node: &Node<'_>) -> Option<String> {
    node.line(REFERENCE_CHARS_MAX)
}

pub(in crate::routes) fn customer(node: &Node<'_>) -> Option<Customer> {
    let body = node.object(&["email", "name"])?;
    let email = email(&body.field("email"));
    let name = body.field("name").line(NAME_CHARS_MAX);
    Some(Customer { email: email?, name: name? })
}

pub(in crate::routes) fn email(node: &Node<'_>) -> Option<String> {
    node.matching(is_email, "a mail address such as ada@example.com")
}

/// Whether mail transports accept the address as it is: no display name, no address literal, a domain of the public
/// DNS.
fn is_email(text: &str) -> bool {
    let options = Options::default().without_display_text().without_domain_literal();
    text.len() <= EMAIL_BYTES_MAX
        && !text.chars().any(|c| c.is_control() || is_format(c))
        && text.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'))
        && EmailAddress::parse_with_options(text, options).is_ok()
}

pub(in crate::routes) fn address(node: &Node<'_>) -> Option<Address> {
    let body = node.object(&["name", "line1", "line2", "city", "postal_code", "country"])?;
    let name = body.field("name").line(NAME_CHARS_MAX);
    let line1 = body.field("line1").line(200);
    let line2 = body.field("line2").optional(|node| node.line(200));
    let city = body.field("city").line(100);
    let postal_code = body.field("postal_code").line(20);
    let country = body.field("country").matching(is_country, "an ISO 3166-1 alpha-2 code such as DE");
    Some(Address {
        name: name?,
        line1: line1?,
        line2,
        city: city?,
        postal_code: postal_code?,
        country: country?,
    })
}

/// The items merged to one line per sku, and for each line the index of its first item.
pub(in crate::routes) fn lines(node: &Node<'_>) -> Option<(Vec<NewLine>, Vec<usize>)> {
    let items = node.array(1..=ITEMS_MAX, item)?;
    let mut lines: Vec<NewLine> = Vec::with_capacity(items.len());
    let mut item_of_line = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Some(line) = lines.iter_mut().find(|line| line.sku == item.sku) else {
            lines.push(item);
            item_of_line.push(index);
            continue;
        };
        let sum = line.quantity.checked_add(item.quantity).filter(|sum| *sum <= QUANTITY_MAX);
        let Some(sum) = sum else {
            let words = format!("all items of this sku together exceed {QUANTITY_MAX}");
            return node.fault_at(&format!("{index}/quantity"), "out_of_range", words);
        };
        line.quantity = sum;
    }
    Some((lines, item_of_line))
}

fn item(node: &Node<'_>) -> Option<NewLine> {
    let body = node.object(&["sku", "quantity"])?;
    let sku = body.field("sku").matching(is_sku, "1 to 64 letters, digits, dots, underscores or dashes");
    let quantity = body.field("quantity").integer(1..=i64::from(QUANTITY_MAX));
    Some(NewLine { sku: sku?, quantity: u32::try_from(quantity?).ok()? })
}

/// Reason of a cancellation.
#[derive(ToSchema)]
#[schema(as = OrderCancel)]
pub(super) struct CancelRequest {
    /// A stable code; `requested_by_merchant` when absent.
    #[schema(pattern = "^[a-z0-9_]{1,64}$")]
    pub(super) reason: Option<String>,
}

impl FromBody for CancelRequest {
    const OPTIONAL: bool = true;

    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&["reason"])?;
        let is_code = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        let words = "a code of 1 to 64 small letters, digits or underscores";
        Some(Self { reason: body.field("reason").optional(|node| node.matching(is_code, words)) })
    }
}

/// Amount of a refund.
#[derive(ToSchema)]
#[schema(as = RefundCreate)]
pub(super) struct RefundRequest {
    /// In minor units; the whole remainder when absent.
    #[schema(minimum = 1, maximum = 999_999_999_999_i64)]
    pub(super) amount_minor: Option<i64>,
    /// For the merchant's own log; not stored.
    #[schema(min_length = 1, max_length = 200)]
    #[expect(dead_code, reason = "accepted and checked; the order store has no place for it")]
    reason: Option<String>,
}

impl FromBody for RefundRequest {
    const OPTIONAL: bool = true;

    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&["amount_minor", "reason"])?;
        let amount_minor = body.field("amount_minor").optional(|node| node.integer(1..=AMOUNT_MINOR_MAX));
        let reason = body.field("reason").optional(|node| node.line(200));
        Some(Self { amount_minor, reason })
    }
}
