//! HTTP routes of the sandbox: status codes, and the misbehaviour that payment methods request.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequestParts, Query, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    books::Of,
    inner::SandboxInner,
    ledger::{ChargeBody, Charged, RefundBody, Refunded, SandboxError},
};

const BODY_BYTES_MAX: usize = 16 * 1024;
const KEY_LEN_MAX: usize = 255;
const LEDGER_PAGE_DEFAULT: u32 = 100;
const LEDGER_PAGE_MAX: u32 = 1000;
/// Delay of `pm_sandbox_slow`.
const SLOW: Duration = Duration::from_secs(2);
/// Longest time that an unanswered call is held.
const HOLD_MAX: Duration = Duration::from_mins(1);

/// Requests that move money require the API key. Reading the ledger does not: it holds play money, and developers read
/// it in a browser.
pub(super) fn router(server: Arc<SandboxInner>) -> Router {
    Router::new()
        .route("/v1/charges", post(charge).get(find_charge))
        .route("/v1/refunds", post(refund))
        .layer(middleware::from_fn_with_state(server.clone(), authenticate))
        .route("/v1/ledger", get(ledger))
        .route("/v1/ledger/summary", get(summary))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(server)
}

async fn authenticate(State(server): State<Arc<SandboxInner>>, request: Request, next: Next) -> Response {
    let shown = bearer(request.headers()).map(Sha256::digest);
    // Digests are compared, so that the time taken tells nothing about the key.
    if shown == Some(Sha256::digest(server.api_key.expose_secret())) {
        next.run(request).await
    } else {
        problem(StatusCode::UNAUTHORIZED, "authentication_required")
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The `Idempotency-Key` header, 1 to 255 characters.
struct IdempotencyKey(String);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let key = parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok());
        match key {
            Some(key) if (1..=KEY_LEN_MAX).contains(&key.len()) => Ok(Self(key.to_owned())),
            _ => Err(problem(StatusCode::BAD_REQUEST, "idempotency_key_required")),
        }
    }
}

async fn charge(
    State(server): State<Arc<SandboxInner>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<ChargeBody>,
) -> Result<Response, SandboxError> {
    if body.amount_minor <= 0 || body.currency.len() != 3 {
        return Ok(problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid_amount"));
    }
    if body.payment_method == "pm_sandbox_slow" {
        tokio::time::sleep(SLOW).await;
    }
    let answers_first_call = body.payment_method != "pm_sandbox_timeout";
    Ok(match server.charge(key, body).await? {
        Charged::Answer { first_call: true, .. } if !answers_first_call => hold(&server).await,
        Charged::Answer { body, .. } => json(body),
        Charged::OutOfOrder => problem(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        Charged::KeyReused => problem(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
    })
}

/// Withholds the answer. The task ends with the connection when the client gives up first.
async fn hold(server: &SandboxInner) -> Response {
    let stopping = server.stopping.cancelled();
    drop(tokio::time::timeout(HOLD_MAX, stopping).await);
    problem(StatusCode::GATEWAY_TIMEOUT, "never_answered")
}

#[derive(Deserialize)]
struct FindCharge {
    idempotency_key: String,
}

async fn find_charge(
    State(server): State<Arc<SandboxInner>>,
    Query(wanted): Query<FindCharge>,
) -> Result<Response, SandboxError> {
    let found = server.charge_by_key(&wanted.idempotency_key).await?;
    Ok(json(format!(r#"{{"object":"list","data":[{}],"has_more":false}}"#, found.unwrap_or_default())))
}

async fn refund(
    State(server): State<Arc<SandboxInner>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<RefundBody>,
) -> Result<Response, SandboxError> {
    if body.amount_minor <= 0 {
        return Ok(problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid_amount"));
    }
    Ok(match server.refund(key, body).await? {
        Refunded::Answer(body) => json(body),
        Refunded::NoSuchCharge => problem(StatusCode::NOT_FOUND, "charge_not_found"),
        Refunded::TooMuch => problem(StatusCode::UNPROCESSABLE_ENTITY, "refund_exceeds_charge"),
        Refunded::KeyReused => problem(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
    })
}

#[derive(Deserialize)]
struct LedgerQuery {
    limit: Option<u32>,
    after: Option<String>,
    order: Option<String>,
    /// Entries of these orders only, with commas between them; overrides `order`.
    orders: Option<String>,
    /// Entries of this charge only; overrides both.
    charge: Option<String>,
}

async fn ledger(
    State(server): State<Arc<SandboxInner>>,
    Query(query): Query<LedgerQuery>,
) -> Result<Response, SandboxError> {
    let limit = query.limit.unwrap_or(LEDGER_PAGE_DEFAULT).clamp(1, LEDGER_PAGE_MAX);
    let array = |list: &String| serde_json::json!(list.split(',').collect::<Vec<_>>()).to_string();
    let orders = query.orders.as_ref().map(array);
    let of = match (&query.charge, &orders, &query.order) {
        (Some(charge), ..) => Of::Charge(charge),
        (None, Some(orders), _) => Of::Orders(orders),
        (None, None, Some(order)) => Of::Order(order),
        (None, None, None) => Of::All,
    };
    let (data, has_more) = server.entries(limit, query.after.as_deref(), of).await?;
    Ok(Json(serde_json::json!({ "object": "list", "data": data, "has_more": has_more })).into_response())
}

async fn summary(State(server): State<Arc<SandboxInner>>) -> Result<Response, SandboxError> {
    Ok(Json(server.summary().await?).into_response())
}

impl IntoResponse for SandboxError {
    fn into_response(self) -> Response {
        tracing::error!(error = %jobs::error::describe(&self), "sandbox ledger failed");
        problem(StatusCode::INTERNAL_SERVER_ERROR, "ledger_failed")
    }
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn problem(status: StatusCode, code: &'static str) -> Response {
    let body =
        serde_json::json!({ "type": "about:blank", "title": code, "status": status.as_u16(), "code": code });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
