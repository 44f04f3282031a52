//! Request bodies of orders, cancellations and refunds.

use serde::Deserialize;
use serde_json::Value;
use store::domain::Currency;
use utoipa::ToSchema;

use crate::{
    input::{Report, Request},
    routes::order_fields::{OrderCreateAddress, OrderCreateCustomer, OrderCreateItem, check_items},
};

/// A new order. Prices are the catalog's, never the client's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderCreate {
    pub(super) customer: OrderCreateCustomer,
    /// ISO 4217; the currency of every product in the order.
    #[schema(value_type = String, format = "currency", example = "EUR")]
    pub(super) currency: Currency,
    /// Quantities of items with the same sku are added up.
    #[schema(min_items = 1, max_items = 100)]
    pub(super) items: Vec<OrderCreateItem>,
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

impl Request for OrderCreate {
    fn check(_: &Value, valid: &Value, report: &Report) {
        check_items(valid, report);
    }
}

/// Reason of a cancellation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderCancel {
    /// A stable code; `requested_by_merchant` when absent.
    #[schema(format = "reason-code")]
    pub(super) reason: Option<String>,
}

impl Request for OrderCancel {
    const OPTIONAL: bool = true;
}

/// Amount of a refund.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundCreate {
    /// In minor units; the whole remainder when absent.
    #[schema(minimum = 1, maximum = 999_999_999_999_i64)]
    pub(super) amount_minor: Option<i64>,
    /// For the merchant's own log; not stored.
    #[schema(min_length = 1, max_length = 200)]
    #[expect(dead_code, reason = "accepted and checked; the order store has no place for it")]
    reason: Option<String>,
}

impl Request for RefundCreate {
    const OPTIONAL: bool = true;
}
