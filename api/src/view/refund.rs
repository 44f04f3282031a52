//! The response to a request for a refund.

use serde::Serialize;
use utoipa::ToSchema;

/// A requested refund. Shows no amount: a repetition under the same key may have named another amount than the refund
/// has. The order's timeline shows the refunded amount.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refund)]
pub(crate) struct RefundView {
    /// Always `refund`.
    #[schema(example = "refund")]
    pub(crate) object: &'static str,
    /// Its id, `ref_…`.
    pub(crate) id: String,
    /// The order.
    pub(crate) order: String,
    /// Always `requested`; the order's timeline shows the progress.
    #[schema(example = "requested")]
    pub(crate) status: &'static str,
}
