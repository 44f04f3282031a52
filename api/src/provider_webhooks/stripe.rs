//! Stripe webhooks: `POST /v1/provider_webhooks/stripe`.
//!
//! | events | object to look up |
//! |---|---|
//! | `payment_intent.succeeded`, `.payment_failed`, `.canceled`, `.processing` | the payment intent itself |
//! | `charge.refunded`, `charge.refund.updated`, `refund.created`, `.updated`, `.failed` | the payment intent named |
//! | `charge.dispute.created`, `.updated`, `.closed`, `.funds_withdrawn`, `.funds_reinstated` | none |
//!
//! A dispute carries no metadata of ours: its order is found by the payment intent. Its state is recorded from the
//! event itself, as it moves no money of ours and needs no further permission of the key.
//!
//! The order is named by the metadata that Orderworks gives a payment intent or a refund; Stripe copies a payment
//! intent's metadata to its charge. So a refund made by hand arrives as `charge.refunded`.

use axum::extract::{Request, State};
use http::StatusCode;
use serde::Deserialize;
use store::{
    domain::{EventId, OrderId},
    orders::{DisputeFacts, Transition},
    outbox::{Command, Submitted},
};

use super::signature;
use crate::{
    input::receive,
    problem::{Kind, Problem},
    state::ApiState,
};

/// Stripe's events are a few kilobytes; one with many line items may be larger.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Ids may grow to 255 characters (Stripe).
const ID_LEN_MAX: usize = 255;
/// Wait for the order of a disputed payment to record it.
const RETRY_SECONDS: u64 = 60;

/// The part of an event that is read.
#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    id: String,
    payment_intent: Option<String>,
    metadata: Option<Metadata>,
    status: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    order_id: Option<String>,
}

/// The kind alone: events that are dropped may have any form.
#[derive(Deserialize)]
struct AnyEvent {
    #[serde(rename = "type")]
    kind: String,
}

pub(super) async fn take(State(state): State<ApiState>, request: Request) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    state.limiters.take_provider_webhook(state.client_ip(&parts)).await?;
    let body = receive(&parts.headers, body, BODY_BYTES_MAX, state.config.body_timeout).await?;
    let header = parts.headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let now = state.ambient.now();
    let secrets = &state.config.stripe_webhook_secrets;
    signature::verify(secrets, header.unwrap_or_default(), &body, now)
        .inspect_err(|why| tracing::info!(%why, "provider webhook rejected"))
        .map_err(|why| Problem::new(Kind::SIGNATURE_INVALID, why.to_string()))?;
    let Some(Event { id, kind, data: Data { object } }) = read(&body)? else { return Ok(StatusCode::OK) };
    if kind.starts_with("charge.dispute.") {
        dispute(&state, object).await?;
    } else {
        report(&state, id, &kind, object).await?;
    }
    Ok(StatusCode::OK)
}

/// Asks for a look at the charge of the order that the object names.
async fn report(state: &ApiState, id: String, kind: &str, object: Object) -> Result<(), Problem> {
    let intent = if kind.starts_with("payment_intent.") { Some(object.id) } else { object.payment_intent };
    let order = object.metadata.and_then(|metadata| metadata.order_id?.parse::<OrderId>().ok());
    let (Some(order), Some(reference), Some(event)) = (order, storable(intent), storable(Some(id))) else {
        tracing::debug!(kind, "provider webhook without an order ignored");
        return Ok(());
    };
    let id = EventId::derived(order.0, &format!("stripe:{event}"));
    let command = Command::ProviderReport { order, reference };
    if state.orders.submit(id, command, state.ambient.now()).await? == Submitted::NoSuchOrder {
        tracing::info!(order.id = %order, "provider webhook for an unknown order ignored");
    }
    Ok(())
}

/// Records the state of a dispute with the order that the payment intent paid. The alarm is raised once for each state.
async fn dispute(state: &ApiState, object: Object) -> Result<(), Problem> {
    let Object { id, payment_intent, status, reason, .. } = object;
    let named = (storable(Some(id)), storable(payment_intent), storable(status));
    let (Some(reference), Some(intent), Some(status)) = named else { return Ok(()) };
    let reason = storable(reason).unwrap_or_default();
    let Some(payment) = state.payments.by_provider_reference("stripe", &intent).await? else {
        tracing::info!(reference, "dispute of an unknown charge ignored");
        return Ok(());
    };
    let Some(paid) = state.payments.payment(payment).await? else { return Ok(()) };
    let order = paid.order;
    let facts = DisputeFacts { payment, reference, status, reason };
    match state.orders.record_dispute(order, facts.clone(), state.ambient.now()).await? {
        Transition::Already(_) => Ok(()),
        // Stripe sends it again.
        Transition::Refused(_) => {
            let detail = "the order does not record its payment yet; send it again";
            Err(Problem::new(Kind::UNAVAILABLE, detail).retry_after(RETRY_SECONDS))
        }
        Transition::Now(_) | Transition::NotFound => {
            let DisputeFacts { reference, status, reason, .. } = facts;
            tracing::error!(alarm = true, order.id = %order, reference, status, reason, "payment disputed");
            Ok(())
        }
    }
}

/// `None` for an event of a kind that is to be dropped.
fn read(body: &[u8]) -> Result<Option<Event>, Problem> {
    let damaged = |_| Problem::new(Kind::BAD_JSON, "the event is not of the form that Stripe documents");
    let AnyEvent { kind } = serde_json::from_slice(body).map_err(damaged)?;
    if !is_taken(&kind) {
        tracing::debug!(kind, "provider webhook of another kind ignored");
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(damaged)
}

/// The text, if it is as long as ids may be.
fn storable(text: Option<String>) -> Option<String> {
    text.filter(|text| (1..=ID_LEN_MAX).contains(&text.len()))
}

fn is_taken(kind: &str) -> bool {
    matches!(
        kind,
        "payment_intent.succeeded"
            | "payment_intent.payment_failed"
            | "payment_intent.canceled"
            | "payment_intent.processing"
            | "charge.refunded"
            | "charge.refund.updated"
            | "refund.created"
            | "refund.updated"
            | "refund.failed"
            | "charge.dispute.created"
            | "charge.dispute.updated"
            | "charge.dispute.closed"
            | "charge.dispute.funds_withdrawn"
            | "charge.dispute.funds_reinstated"
    )
}
