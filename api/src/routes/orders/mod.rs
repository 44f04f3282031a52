//! Orders: placing (`place`), reading (`read`), cancelling and refunding (`change`), history (`timeline`), live events
//! (`stream`), revoking the order token (`token`), payments by day (`payments`).

mod change;
mod payments;
pub(super) mod place;
pub(super) mod read;
mod request;
mod stream;
mod timeline;
mod token;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::ApiState;

/// Checks the reading of a body of an order, see [`crate::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_order_body(bytes: &[u8]) {
    crate::input::check_body::<request::OrderCreate>(bytes);
}

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(place::place_order, read::list_orders))
        .routes(routes!(read::get_order))
        .routes(routes!(read::list_orders_of_customer))
        .routes(routes!(timeline::get_timeline))
        .routes(routes!(stream::stream_events))
        .routes(routes!(change::cancel_order))
        .routes(routes!(change::refund_order))
        .routes(routes!(token::revoke_token))
        .routes(routes!(payments::list_payments))
}
