//! Request bodies of carts.

use serde::Deserialize;
use serde_json::Value;
use store::domain::Currency;
use utoipa::ToSchema;

use crate::{
    input::{Report, Request},
    routes::order_fields::{OrderCreateAddress, OrderCreateCustomer, OrderCreateItem, check_items},
};

/// A new cart; every field may be left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CartCreate {
    /// ISO 4217; the currency of the first product when absent.
    #[schema(value_type = Option<String>, format = "currency", example = "EUR")]
    pub(super) currency: Option<Currency>,
    /// Quantities of items with the same sku are added up.
    #[schema(min_items = 1, max_items = 100)]
    pub(super) items: Option<Vec<OrderCreateItem>>,
}

impl Request for CartCreate {
    const OPTIONAL: bool = true;

    fn check(_: &Value, valid: &Value, report: &Report) {
        check_items(valid, report);
    }
}

/// A cart to merge; may be left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CartMerge {
    /// The cart whose items move into the customer's cart.
    #[schema(min_length = 1, max_length = 64, example = "cart_019aa3c2-7f5e-7cc1-b3a4-1d7a9b1c2d3e")]
    pub(super) cart: Option<String>,
}

impl Request for CartMerge {
    const OPTIONAL: bool = true;
}

/// Where an order would be sent; may be left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CartQuote {
    /// What shipping and taxes are decided by.
    pub(super) shipping_address: Option<OrderCreateAddress>,
}

impl Request for CartQuote {
    const OPTIONAL: bool = true;
}

/// Quantity of a product.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CartItemPut {
    /// 0 removes the product.
    #[schema(minimum = 0, maximum = 10000, example = 2)]
    pub(super) quantity: u32,
}

impl Request for CartItemPut {}

/// Order of a cart.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CartCheckout {
    /// The customer; the one who is signed in when absent.
    pub(super) customer: Option<OrderCreateCustomer>,
    /// The total the customer agreed to. If the order comes to another one, it is refused with 409 `price_changed`.
    #[schema(minimum = 0, maximum = 999_999_999_999_i64, example = 500)]
    pub(super) expected_total_minor: Option<i64>,
    /// The payment provider's token; never a card number.
    #[schema(format = "payment-method", example = "pm_card_visa")]
    pub(super) payment_method: String,
    pub(super) shipping_address: Option<OrderCreateAddress>,
    /// The merchant's own number for the order.
    #[schema(format = "line-without-link", min_length = 1, max_length = 100)]
    pub(super) reference: Option<String>,
}

impl Request for CartCheckout {}
