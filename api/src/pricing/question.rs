//! The question to a hook: lines, place of delivery and what was decided so far. Without names, street and mail address
//! of the customer: no hook needs them to decide an amount.

use base::{Timestamp, TraceContext};
use serde::Serialize;
use store::{
    domain::{Address, AdjustmentKind, Currency, MerchantId, Pricing},
    order_view::AdjustmentView,
    orders::NewLine,
};

/// An order, or a cart, to price.
#[derive(Clone, Copy)]
pub(crate) struct ToPrice<'a> {
    pub(crate) merchant: MerchantId,
    pub(crate) currency: Currency,
    pub(crate) lines: &'a [NewLine],
    pub(crate) address: Option<&'a Address>,
    pub(crate) trace: Option<&'a TraceContext>,
}

/// A line at the present price.
#[derive(Debug, Serialize)]
pub(super) struct QuestionLine {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) category: String,
    pub(super) quantity: u32,
    pub(super) price_minor: i64,
    pub(super) total_minor: i64,
}

/// The body of a call; fields are only ever added.
#[derive(Serialize)]
pub(super) struct Question<'a> {
    /// `checkout.discount`, `checkout.shipping` or `checkout.tax`.
    #[serde(rename = "type")]
    kind: String,
    timestamp: Timestamp,
    data: QuestionData<'a>,
}

#[derive(Serialize)]
struct QuestionData<'a> {
    currency: String,
    lines: &'a [QuestionLine],
    subtotal_minor: i64,
    /// Decided by the hooks of other kinds.
    adjustments: Vec<AdjustmentView>,
    ship_to: Option<ShipTo<'a>>,
}

#[derive(Serialize)]
struct ShipTo<'a> {
    country: &'a str,
    postal_code: &'a str,
    city: &'a str,
}

impl<'a> Question<'a> {
    pub(super) fn new(
        kind: AdjustmentKind,
        wanted: ToPrice<'a>,
        lines: &'a [QuestionLine],
        so_far: &Pricing,
        at: Timestamp,
    ) -> Self {
        let ship_to = |address: &'a Address| ShipTo {
            country: &address.country,
            postal_code: &address.postal_code,
            city: &address.city,
        };
        let data = QuestionData {
            currency: wanted.currency.to_string(),
            lines,
            subtotal_minor: so_far.subtotal_minor,
            adjustments: so_far.adjustments.iter().map(AdjustmentView::new).collect(),
            ship_to: wanted.address.map(ship_to),
        };
        Self { kind: format!("checkout.{kind}"), timestamp: at, data }
    }

    pub(super) fn to_json(&self) -> String {
        // Strings and numbers only: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
