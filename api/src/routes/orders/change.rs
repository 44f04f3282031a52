//! Cancelling and refunding orders.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use store::{
    domain::{MerchantId, Order, OrderId, RefundId},
    orders::{RefundRequested, RequestedRefund, Transition},
};

use super::{
    place::{REPLAYED, key_reused},
    read,
    request::{OrderCancel, RefundCreate},
};
use crate::{
    auth::SecretKey,
    input::{Body, PathText, parse_id, required_idempotency_key},
    order_access::OrderCaller,
    problem::{FieldError, Kind, Problem},
    state::ApiState,
    view::{OrderView, RefundView},
};

const REASON_DEFAULT: &str = "requested_by_merchant";
const REASON_OF_CUSTOMER: &str = "requested_by_customer";

/// Cancel an order
///
/// Possible while `pending` or `paid`; captured money is refunded. Repeating the request changes nothing. With a
/// publishable key, and the order's token or its customer's session, possible while `pending`, for the reason
/// `requested_by_customer`.
#[utoipa::path(
    post, path = "/v1/orders/{id}/cancel", tag = "orders",
    params(
        ("id" = String, Path, description = "`ord_…`"),
        ("Orderworks-Order-Token" = Option<String>, Header, description = "`owt_…`, shown when it was placed"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    request_body(content = Option<OrderCancel>),
    responses(
        (status = 200, description = "The cancelled order", body = OrderView),
        (status = 409, description = "Too late: shipped, failed or refunded"),
    ),
)]
pub(super) async fn cancel_order(
    State(state): State<ApiState>,
    caller: OrderCaller,
    PathText(id): PathText,
    body: Body<OrderCancel>,
) -> Result<Json<OrderView>, Problem> {
    let (merchant, now, reason) = (caller.key.merchant, state.ambient.now(), body.value.reason);
    let cancelled = if caller.is_customer() {
        let order = caller.order(&state, &id).await?;
        if reason.is_some() {
            let code = Kind::SECRET_KEY_REQUIRED.code;
            let error = FieldError::new("/reason", code, "a reason is given with a secret key only");
            return Err(Problem::invalid(vec![error]));
        }
        state.orders.cancel_pending(merchant, order.id, REASON_OF_CUSTOMER, now).await?
    } else {
        let id: OrderId = parse_id(&id, "order")?;
        state.orders.cancel(merchant, id, reason.as_deref().unwrap_or(REASON_DEFAULT), now).await?
    };
    match cancelled {
        Transition::Now(order) | Transition::Already(order) => {
            state.catalog.sold(&order);
            Ok(Json(read::view(&state, &order).await?))
        }
        Transition::Refused(order) if caller.is_customer() => {
            Err(conflict(&order, "cancelled by its customer"))
        }
        Transition::Refused(order) => Err(conflict(&order, "cancelled")),
        Transition::NotFound => Err(Problem::not_found("order")),
    }
}

/// Refund an order, all or a part
///
/// Possible once `paid` or `fulfilled`. A worker carries it out: follow the order's timeline. A repetition under the
/// same key changes nothing and gets the same refund, with `Idempotent-Replayed: true`. A refund that the payment
/// provider refused is requested again with a new key, also of a cancelled order.
#[utoipa::path(
    post, path = "/v1/orders/{id}/refund", tag = "orders", security(("secret_key" = [])),
    params(
        ("id" = String, Path, description = "`ord_…`"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, bare or quoted"),
    ),
    request_body(content = Option<RefundCreate>),
    responses(
        (status = 202, description = "Accepted", body = RefundView, headers(
            ("Location" = String, description = "The order"),
            ("Idempotent-Replayed" = String, description = "`true` on a repetition"),
        )),
        (status = 400, description = "No `Idempotency-Key`, or not a usable one"),
        (status = 409, description = "Nothing was captured or charged, all was given back, or this refund failed"),
        (status = 422, description = "Too much, not possible at the payment provider, or the key was used for another amount"),
    ),
)]
pub(super) async fn refund_order(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(id): PathText,
    headers: HeaderMap,
    body: Body<RefundCreate>,
) -> Result<Response, Problem> {
    let id: OrderId = parse_id(&id, "order")?;
    let amount_minor = body.value.amount_minor;
    let refund = RefundId::derived(id.0, &format!("refund key {}", required_idempotency_key(&headers)?));
    if let Some(amount_minor) = amount_minor {
        provider_takes(&state, key.merchant, id, amount_minor).await?;
    }
    let now = state.ambient.now();
    match state.orders.request_refund(key.merchant, id, refund, amount_minor, now).await? {
        RefundRequested::Accepted(order, refund) => Ok(accepted(order.id, refund, false)),
        RefundRequested::Already(order, refund) => Ok(accepted(order.id, refund, true)),
        RefundRequested::OtherAmount => Err(key_reused()),
        RefundRequested::Failed { code } => {
            let detail = format!("it failed ({code}); request it again with a new Idempotency-Key");
            Err(Problem::new(Kind::REFUND_FAILED, detail))
        }
        RefundRequested::TooMuch { .. } if amount_minor.is_none() => {
            Err(Problem::new(Kind::ORDER_STATE, "all of it was given back or is on its way"))
        }
        RefundRequested::TooMuch { refundable_minor } => {
            let at_most = format!("at most {refundable_minor}");
            let error = FieldError::new("/amount_minor", Kind::REFUND_TOO_LARGE.code, at_most);
            let detail = "less is left of the order's total";
            Err(Problem::new(Kind::REFUND_TOO_LARGE, detail).with_errors(vec![error]))
        }
        RefundRequested::Free => Err(Problem::new(
            Kind::ORDER_STATE,
            "the order was free: nothing was charged, so nothing can be refunded",
        )),
        RefundRequested::Refused(order) => Err(conflict(&order, "refunded")),
        RefundRequested::NotFound => Err(Problem::not_found("order")),
    }
}

/// Rejects an amount that the provider could never refund. What is left of an order then stays one that it can.
async fn provider_takes(
    state: &ApiState,
    merchant: MerchantId,
    id: OrderId,
    amount_minor: i64,
) -> Result<(), Problem> {
    let Some(order) = state.orders.order(merchant, id).await? else { return Ok(()) };
    if (state.config.provider_takes)(amount_minor, order.currency) {
        return Ok(());
    }
    let detail = format!("not an amount in {} that the payment provider can refund", order.currency);
    let error = FieldError::new("/amount_minor", Kind::AMOUNT_NOT_SUPPORTED.code, detail);
    let detail = "choose an amount in the payment provider's smallest step";
    Err(Problem::new(Kind::AMOUNT_NOT_SUPPORTED, detail).with_errors(vec![error]))
}

fn accepted(order: OrderId, refund: RequestedRefund, replayed: bool) -> Response {
    let location = [(header::LOCATION, format!("/v1/orders/{order}"))];
    let replayed = replayed.then_some([(REPLAYED, "true")]);
    (StatusCode::ACCEPTED, location, replayed, Json(RefundView::of(order, refund))).into_response()
}

fn conflict(order: &Order, wanted: &str) -> Problem {
    let status = order.status;
    Problem::new(Kind::ORDER_STATE, format!("an order that is `{status}` cannot be {wanted}"))
}
