//! Payments, as lists show them.

use base::Timestamp;
use serde::Serialize;
use store::{order_view::PaymentView, payments::PaymentEntry};
use utoipa::ToSchema;

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub(crate) struct PaymentEntryView {
    /// Always `payment`.
    #[schema(example = "payment")]
    object: &'static str,
    /// Its id, `pay_…`.
    id: String,
    /// The order that it pays, `ord_…`.
    order: String,
    /// `created`, `processing`, `captured`, `declined`, `refunded`; `unknown` while the payment store is unavailable.
    #[schema(example = "captured")]
    status: &'static str,
    /// The amount to capture, in minor units.
    amount_minor: i64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
    /// Time at which it was opened.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl PaymentEntryView {
    /// `payment` is its present state, where it was found.
    pub(crate) fn new(entry: &PaymentEntry, payment: Option<&PaymentView>) -> Self {
        Self {
            object: "payment",
            id: entry.id.to_string(),
            order: entry.order.to_string(),
            status: payment.map_or("unknown", PaymentView::status),
            amount_minor: entry.amount_minor,
            currency: entry.currency.to_string(),
            created_at: entry.created_at,
        }
    }
}
