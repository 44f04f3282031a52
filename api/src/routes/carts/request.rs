//! Request bodies of carts.

use store::{
    domain::{Address, Currency, Customer},
    orders::NewLine,
};
use utoipa::ToSchema;

use crate::{
    input::{FromBody, Node},
    routes::orders::request::{
        self, AddressSchema, CustomerSchema, ItemSchema, QUANTITY_MAX, address, customer, payment_method,
        reference,
    },
};

/// Body of a new cart, as it is read.
pub(super) struct CartRequest {
    pub(super) currency: Option<Currency>,
    pub(super) lines: Vec<NewLine>,
    /// For each line the index of the first item it came from.
    pub(super) item_of_line: Vec<usize>,
}

/// A new cart; every field may be left out.
#[derive(ToSchema)]
#[schema(as = CartCreate)]
#[expect(dead_code, reason = "describes the body to readers; `CartRequest` is what is read from it")]
pub(super) struct CartSchema {
    /// ISO 4217; the currency of the first product when absent.
    #[schema(example = "EUR", pattern = "^[A-Z]{3}$")]
    currency: Option<String>,
    /// Quantities of items with the same sku are added up.
    #[schema(min_items = 1, max_items = 100)]
    items: Option<Vec<ItemSchema>>,
}

impl FromBody for CartRequest {
    const OPTIONAL: bool = true;

    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&["currency", "items"])?;
        let currency = body.field("currency").optional(Node::parsed);
        let (lines, item_of_line) = body.field("items").optional(request::lines).unwrap_or_default();
        Some(Self { currency, lines, item_of_line })
    }
}

/// Quantity of a product.
#[derive(ToSchema)]
#[schema(as = CartItemPut)]
pub(super) struct ItemRequest {
    /// 0 removes the product.
    #[schema(minimum = 0, maximum = 10000, example = 2)]
    pub(super) quantity: u32,
}

impl FromBody for ItemRequest {
    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&["quantity"])?;
        let quantity = body.field("quantity").integer(0..=i64::from(QUANTITY_MAX))?;
        Some(Self { quantity: u32::try_from(quantity).ok()? })
    }
}

/// Body of a checkout, as it is read.
pub(super) struct CheckoutRequest {
    pub(super) customer: Option<Customer>,
    pub(super) payment_method: String,
    pub(super) shipping_address: Option<Address>,
    pub(super) reference: Option<String>,
}

/// Order of a cart.
#[derive(ToSchema)]
#[schema(as = CartCheckout)]
#[expect(dead_code, reason = "describes the body to readers; `CheckoutRequest` is what is read from it")]
pub(super) struct CheckoutSchema {
    /// The customer; the one who is signed in when absent.
    customer: Option<CustomerSchema>,
    /// The payment provider's token; never a card number.
    #[schema(example = "pm_card_visa", pattern = "^pm_[A-Za-z0-9_]{1,64}$")]
    payment_method: String,
    shipping_address: Option<AddressSchema>,
    /// The merchant's own number for the order.
    #[schema(min_length = 1, max_length = 100)]
    reference: Option<String>,
}

impl FromBody for CheckoutRequest {
    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&["customer", "payment_method", "shipping_address", "reference"])?;
        let customer = body.field("customer").optional(customer);
        let payment_method = payment_method(&body.field("payment_method"));
        let shipping_address = body.field("shipping_address").optional(address);
        let reference = body.field("reference").optional(reference);
        Some(Self { customer, payment_method: payment_method?, shipping_address, reference })
    }
}
