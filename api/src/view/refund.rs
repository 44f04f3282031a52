//! The response to a request for a refund.

use serde::Serialize;
use store::{domain::OrderId, orders::RequestedRefund};
use utoipa::ToSchema;

/// A requested refund.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refund)]
pub(crate) struct RefundView {
    /// Always `refund`.
    #[schema(example = "refund")]
    object: &'static str,
    /// Its id, `ref_…`.
    id: String,
    /// The order.
    order: String,
    /// In minor units of the order's currency.
    #[schema(example = 250)]
    amount_minor: i64,
    /// `requested`, or `done` in the answer to a repetition; the order's timeline shows the progress.
    #[schema(example = "requested")]
    status: &'static str,
}

impl RefundView {
    pub(crate) fn of(order: OrderId, refund: RequestedRefund) -> Self {
        Self {
            object: "refund",
            id: refund.id.to_string(),
            order: order.to_string(),
            amount_minor: refund.amount_minor,
            status: if refund.done { "done" } else { "requested" },
        }
    }
}
