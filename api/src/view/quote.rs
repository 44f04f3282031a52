//! Response body of a quote.

use serde::Serialize;
use store::{
    domain::{Currency, Pricing},
    order_view::AdjustmentView,
};
use utoipa::ToSchema;

/// What an order of a cart would come to.
#[derive(Serialize, ToSchema)]
#[schema(as = Quote)]
pub(crate) struct QuoteView {
    /// Always `quote`.
    #[schema(example = "quote")]
    object: &'static str,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
    /// Sum of the lines in minor units.
    subtotal_minor: i64,
    /// Discounts, shipping and taxes; empty where the shop has no hooks for them.
    adjustments: Vec<AdjustmentView>,
    /// Sum of the lines and the adjustments: the `expected_total_minor` of the order.
    total_minor: i64,
}

impl QuoteView {
    /// `total_minor` is that of the pricing.
    pub(crate) fn new(currency: Currency, pricing: &Pricing, total_minor: i64) -> Self {
        Self {
            object: "quote",
            currency: currency.to_string(),
            subtotal_minor: pricing.subtotal_minor,
            adjustments: pricing.adjustments.iter().map(AdjustmentView::new).collect(),
            total_minor,
        }
    }
}
