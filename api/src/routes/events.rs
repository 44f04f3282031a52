//! Events of a merchant: the list, and sending one again.

use axum::{Json, extract::State};
use base::{Timestamp, ids::floor};
use http::StatusCode;
use store::{
    domain::{EndpointId, EventId},
    outbox::Command,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::SecretKey,
    input::{PathText, Query, parse_id},
    problem::{Kind, Problem},
    state::ApiState,
    view::{EventView, List, ResendView},
};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_events)).routes(routes!(resend_event))
}

/// List events, newest first
#[utoipa::path(
    get, path = "/v1/events", tag = "webhooks", security(("secret_key" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100, 10 when absent"),
        ("starting_after" = Option<String>, Query, description = "The last event of the page before"),
    ),
    responses((status = 200, description = "A page of events", body = List<EventView>)),
)]
async fn list_events(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    uri: http::Uri,
) -> Result<Json<List<EventView>>, Problem> {
    let page = state.orders.events(key.merchant, Query::paged(&uri, &[]).page()?).await?;
    Ok(Json(List::new(page.items.into_iter().map(EventView::from).collect(), page.has_more)))
}

/// Send an event again
///
/// To each enabled endpoint that is subscribed to its kind, under the same `webhook-id` and with the usual retries,
/// also where it was accepted before. Requests for one event within one minute of the clock are one.
#[utoipa::path(
    post, path = "/v1/events/{id}/resend", tag = "webhooks", security(("secret_key" = [])),
    params(("id" = String, Path, description = "`evt_…`")),
    responses(
        (status = 202, description = "Accepted", body = ResendView),
        (status = 409, description = "No enabled endpoint is subscribed to its kind"),
        (status = 429, description = "More than ten a second"),
    ),
)]
async fn resend_event(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(id): PathText,
) -> Result<(StatusCode, Json<ResendView>), Problem> {
    state.limiters.take_resend(&key).await?;
    let id: EventId = parse_id(&id, "event")?;
    let event = state.orders.event_by_id(id).await?.filter(|event| event.merchant == key.merchant);
    let event = event.ok_or_else(|| Problem::not_found("event"))?;
    let endpoints = state.orders.subscribers(key.merchant, event.kind).await?;
    if endpoints.is_empty() {
        return Err(Problem::new(Kind::NO_ENDPOINT, "enable or add an endpoint first"));
    }
    let view = ResendView {
        object: "event_resend",
        event: id.to_string(),
        endpoints: endpoints.iter().map(EndpointId::to_string).collect(),
        status: "requested",
    };
    let now = state.ambient.now();
    let command = Command::Resend { merchant: key.merchant, event: id, order: event.order, endpoints };
    state.orders.submit(resend_id(id, now), command, now).await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// The same for all requests within a minute: repeating one after a lost answer sends nothing twice.
fn resend_id(event: EventId, now: Timestamp) -> EventId {
    let seconds = now.as_second();
    let minute = Timestamp::from_second(seconds - seconds.rem_euclid(60)).unwrap_or(now);
    EventId::derived(floor(minute), &format!("resend {event}"))
}
