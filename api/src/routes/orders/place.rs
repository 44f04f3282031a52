//! Order placement: `POST /v1/orders`.

use std::ops::ControlFlow;

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use base::TraceContext;
use http::{HeaderMap, HeaderName, StatusCode, header};
use store::{
    domain::{Address, MerchantId, OrderId, Pricing},
    orders::{IdempotencyKey, NewOrder, PlaceOutcome, Refusal},
};

use super::request::OrderCreate;
use crate::{
    card_testing::CardCaller,
    input::Body,
    limits::{Admitted, CheckoutCaller, with_rate},
    order_access::{self, IssuedToken},
    pricing::{self, PricingOutcome, ToPrice},
    problem::{FieldError, Kind, Problem},
    routes::order_fields::{Lines, merge},
    state::ApiState,
    view::OrderView,
    waiting_room,
};

pub(in crate::routes) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Place an order
///
/// The order is stored with its stock reservation before the response is sent; the payment follows. A repetition under
/// the same key gets the first response again, with `Idempotent-Replayed: true` and a fresh token in place of the one
/// before. In a session the order belongs to that customer.
#[utoipa::path(
    post, path = "/v1/orders", tag = "orders",
    params(
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, bare or quoted"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
        ("Orderworks-Device" = Option<String>, Header, description = "Id of the device, 16 to 64 of `A-Za-z0-9-_`"),
        ("Orderworks-Proof" = Option<String>, Header, description = "Proof of work, where it was asked for"),
        ("Orderworks-Place" = Option<String>, Header, description = "`owq_…`, an admitted place, in sale mode"),
    ),
    request_body = OrderCreate,
    responses(
        (status = 202, description = "Accepted", body = OrderView, headers(
            ("Location" = String, description = "The order"),
            ("Orderworks-Order-Token" = String, description = "`owt_…`: opens the whole order; shown this once"),
            ("Idempotent-Replayed" = String, description = "`true` on a repetition"),
        )),
        (status = 409, description = "Out of stock, another total than expected, or the key's first request is in flight"),
        (status = 422, description = "Not valid, a card number, or the key was used for another request"),
        (status = 429, description = "Too many requests, a proof of work is required, or the shopper has to wait", headers(
            ("Orderworks-Proof-Bits" = u32, description = "Zero bits that the proof has to have, where one is required"),
        )),
        (status = 503, description = "Orders wait for too long, or a server behind the API cannot be reached"),
        (status = "default", description = "Any other problem"),
    ),
)]
pub(super) async fn place_order(
    State(state): State<ApiState>,
    caller: CheckoutCaller,
    Extension(trace): Extension<TraceContext>,
    headers: HeaderMap,
    body: Result<Body<OrderCreate>, Problem>,
) -> Result<Response, Problem> {
    let (admitted, rate) = caller.admit(&state, &headers, body).await?;
    Ok(with_rate(rate, place(&state, admitted, trace, &headers).await))
}

async fn place(
    state: &ApiState,
    admitted: Admitted<OrderCreate>,
    trace: TraceContext,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (merchant, request) = (admitted.key.merchant, admitted.body);
    let Lines { lines, item_of_line } =
        merge(request.items).map_err(|fault| Problem::invalid(vec![fault]))?;
    let token = IssuedToken::draw(state)?;
    let account = order_access::account(state, merchant, headers).await?;
    waiting_room::admit(state, &admitted.key, headers, &admitted.idempotency.key, None).await?;
    let address = request.shipping_address.map(Address::from);
    let (currency, ship_to, caused_by) = (request.currency, address.as_ref(), Some(&trace));
    let wanted = ToPrice { merchant, currency, lines: &lines, address: ship_to, trace: caused_by };
    let pricing = match decide(state, wanted, &admitted.idempotency, &item_of_line).await? {
        ControlFlow::Continue(pricing) => pricing,
        ControlFlow::Break(PlaceOutcome::Replayed { order, body }) => {
            return replayed(state, merchant, order, body, token).await;
        }
        ControlFlow::Break(_) => return Err(key_reused()),
    };
    let caller = CardCaller {
        key: &admitted.key,
        address: admitted.address,
        account,
        payment_method: &request.payment_method,
        headers,
    };
    let attempt = state.card_testing.admit(caller).await?;
    let placement = state.placements.begin(merchant, &state.ambient);
    let order = NewOrder {
        id: placement.id,
        merchant,
        customer: request.customer.into(),
        account,
        token: Some(token.stored),
        currency: request.currency,
        lines,
        reservation: None,
        pricing,
        expected_total_minor: request.expected_total_minor,
        payment_method: request.payment_method,
        shipping_address: address,
        reference: request.reference,
        idempotency: admitted.idempotency,
        trace: Some(trace),
        estimated_fulfilment_at: state.admission.estimate(),
        at: state.ambient.now(),
    };
    let placed = state.orders.place_order(order).await;
    drop(placement);
    // Without an answer the attempt counts as unpaid: the order may have been placed.
    let placed = placed?;
    state.card_testing.settle(attempt, &placed).await;
    match placed {
        PlaceOutcome::Placed { order, body } => {
            state.catalog.sold(&order);
            state.admission.note_placed();
            Ok(accepted(order.id, body, Some(token), false))
        }
        PlaceOutcome::Replayed { order, body } => replayed(state, merchant, order, body, token).await,
        PlaceOutcome::InFlight => Err(in_flight()),
        PlaceOutcome::KeyReused { .. } => Err(key_reused()),
        PlaceOutcome::Refused(refusals) => Err(refused(&refusals, &item_of_line)),
    }
}

/// What the shop's hooks decide; breaks with the answer to a repetition, for which they are not asked: it must not fail
/// where they do.
async fn decide(
    state: &ApiState,
    wanted: ToPrice<'_>,
    key: &IdempotencyKey,
    item_of_line: &[usize],
) -> Result<ControlFlow<PlaceOutcome, Option<Pricing>>, Problem> {
    let settings = state.checkout_settings(wanted.merchant).await?;
    if settings.hooks.is_empty() {
        return Ok(ControlFlow::Continue(None));
    }
    if let Some(answer) = state.orders.answered(wanted.merchant, key).await? {
        return Ok(ControlFlow::Break(answer));
    }
    match pricing::price(state, &settings, wanted).await? {
        PricingOutcome::Priced(pricing) => Ok(ControlFlow::Continue(Some(pricing))),
        PricingOutcome::Refused(refusals) => Err(refused(&refusals, item_of_line)),
    }
}

/// The first response again, with a fresh token: a client that lost the first response can go on, and the token in that
/// response is no longer valid.
pub(in crate::routes) async fn replayed(
    state: &ApiState,
    merchant: MerchantId,
    order: OrderId,
    body: String,
    token: IssuedToken,
) -> Result<Response, Problem> {
    // The idempotency record may outlive the order, which is dropped with its month's partition.
    let is_there = state.orders.replace_order_token(merchant, order, Some(token.stored)).await?;
    Ok(accepted(order, body, is_there.then_some(token), true))
}

pub(in crate::routes) fn in_flight() -> Problem {
    Problem::new(Kind::IN_FLIGHT, "ask again with the same key in a second").retry_after(1)
}

pub(in crate::routes) fn key_reused() -> Problem {
    Problem::new(Kind::KEY_REUSED, "this key belongs to a request with another body; use a fresh one")
}

pub(in crate::routes) fn accepted(
    order: OrderId,
    body: String,
    token: Option<IssuedToken>,
    replayed: bool,
) -> Response {
    let headers = [
        (header::LOCATION, format!("/v1/orders/{order}")),
        (header::CONTENT_TYPE, "application/json".to_owned()),
    ];
    let replayed = replayed.then_some([(REPLAYED, "true")]);
    (StatusCode::ACCEPTED, headers, token.map(IssuedToken::header), replayed, body).into_response()
}

/// One problem for all rejections: their common kind, or `validation_failed` when they differ.
pub(in crate::routes) fn refused(refusals: &[Refusal], item_of_line: &[usize]) -> Problem {
    let item = |line: &usize| item_of_line.get(*line).copied().unwrap_or(*line);
    let (mut kinds, mut errors) = (Vec::new(), Vec::new());
    let mut total_minor = None;
    for refusal in refusals {
        let (kind, pointer, detail) = match refusal {
            Refusal::OutOfStock { line, available } => {
                (Kind::OUT_OF_STOCK, format!("/items/{}/quantity", item(line)), format!("{available} left"))
            }
            Refusal::UnknownSku { line } => {
                (Kind::UNKNOWN_SKU, format!("/items/{}/sku", item(line)), "no such product".to_owned())
            }
            Refusal::WrongCurrency { line, expected } => {
                (Kind::WRONG_CURRENCY, format!("/items/{}/sku", item(line)), format!("sold in {expected}"))
            }
            Refusal::Repriced => {
                let detail = "prices have changed in this moment; ask again".to_owned();
                (Kind::PRICE_CHANGED, "/items".to_owned(), detail)
            }
            Refusal::PriceChanged { total_minor: present_minor } => {
                total_minor = Some(*present_minor);
                let detail = format!("it comes to {present_minor} now");
                (Kind::PRICE_CHANGED, "/expected_total_minor".to_owned(), detail)
            }
            _ => {
                let detail = "the sum exceeds what an order may come to".to_owned();
                (Kind::TOTAL_TOO_LARGE, "/items".to_owned(), detail)
            }
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
        errors.push(FieldError { pointer, code: kind.code, detail });
    }
    let kind = if let [only] = kinds[..] { only } else { Kind::INVALID };
    Problem::new(kind, "nothing was ordered; see `errors`").with_errors(errors).with_total(total_minor)
}
