//! Webhook endpoints of merchants.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base::{Ambient, time::later};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use store::{
    domain::{EndpointId, EventKind},
    webhooks::{
        ENDPOINTS_PER_MERCHANT_MAX, Endpoint, EndpointChange, PREVIOUS_SECRETS_MAX, SecretRotated,
        SecretRotation, Subscription,
    },
};
use utoipa::{
    ToSchema,
    openapi::schema::{Array, ArrayBuilder, ObjectBuilder, SchemaType, Type},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::SecretKey,
    input::{Body, PathText, Query, Report, Request, parse_id},
    problem::{FieldError, Kind, Problem},
    state::ApiState,
    view::{EndpointCreatedView, EndpointView, List},
};

/// Standard Webhooks requires 24 to 64.
const SECRET_BYTES: usize = 32;
const OVERLAP_HOURS_DEFAULT: u64 = 24;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create_endpoint, list_endpoints))
        .routes(routes!(get_endpoint, change_endpoint, delete_endpoint))
        .routes(routes!(rotate_secret))
}

/// A new endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookEndpointCreate {
    /// An https URL of a public address.
    #[schema(
        format = "uri",
        min_length = 1,
        max_length = 2048,
        example = "https://shop.example/hooks/orderworks"
    )]
    url: String,
    #[schema(schema_with = events_schema)]
    events: Vec<String>,
    /// True when absent.
    enabled: Option<bool>,
}

/// Changes of an endpoint; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookEndpointChange {
    #[schema(format = "uri", min_length = 1, max_length = 2048)]
    url: Option<String>,
    #[schema(schema_with = changed_events_schema)]
    events: Option<Vec<String>>,
    enabled: Option<bool>,
}

/// Overlap of the new secret of an endpoint with its former ones.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookSecretRotate {
    /// Hours in which messages are signed with the former secrets as well; 24 when absent, 0 ends them at once.
    #[schema(minimum = 0, maximum = 168)]
    overlap_hours: Option<u64>,
}

impl Request for WebhookSecretRotate {
    const OPTIONAL: bool = true;
}

impl Request for WebhookEndpointCreate {
    fn check(_: &Value, valid: &Value, report: &Report) {
        check_events(valid, report);
    }
}

impl Request for WebhookEndpointChange {
    fn check(_: &Value, valid: &Value, report: &Report) {
        check_events(valid, report);
    }
}

fn events_schema() -> Array {
    let names = EventKind::ALL.map(EventKind::as_str).into_iter().chain(["*"]);
    let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build();
    ArrayBuilder::new()
        .items(name)
        .min_items(Some(1))
        .max_items(Some(EventKind::ALL.len()))
        .description(Some("Kinds of events, or `*` alone for all."))
        .examples([serde_json::json!(["*"])])
        .build()
}

fn changed_events_schema() -> Array {
    let mut schema = events_schema();
    schema.schema_type = SchemaType::Array(vec![Type::Array, Type::Null]);
    schema
}

fn check_events(valid: &Value, report: &Report) {
    let events = valid["events"].as_array().map_or(&[][..], Vec::as_slice);
    if events.len() > 1 && events.iter().any(|name| name == "*") {
        report.add("/events", "wrong_format", "`*` stands alone");
    }
}

/// The kinds of these names; `*` is none of them and stands for all.
fn subscription(names: &[String]) -> Subscription {
    let mut kinds: Vec<EventKind> = names.iter().filter_map(|name| name.parse().ok()).collect();
    if kinds.is_empty() {
        return Subscription::All;
    }
    kinds.sort_unstable();
    kinds.dedup();
    Subscription::of(kinds)
}

fn fresh_secret(ambient: &Ambient) -> String {
    format!("whsec_{}", STANDARD.encode(ambient.secret::<SECRET_BYTES>()))
}

/// Checks the URL by the installation's policy; delivery checks the resolved address again.
fn accepted_url(state: &ApiState, url: &str) -> Result<String, Problem> {
    state.config.webhook_urls.check(url).map(String::from).map_err(|refusal| {
        Problem::invalid(vec![FieldError::new("/url", refusal.code(), refusal.to_string())])
    })
}

/// Add a webhook endpoint
///
/// The secret is shown in this answer only.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints", tag = "webhooks", security(("secret_key" = [])),
    request_body = WebhookEndpointCreate,
    responses(
        (status = 201, description = "Created", body = EndpointCreatedView),
        (status = 409, description = "The merchant has as many as are allowed"),
    ),
)]
async fn create_endpoint(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    body: Body<WebhookEndpointCreate>,
) -> Result<Response, Problem> {
    let endpoint = Endpoint {
        id: EndpointId::fresh(&state.ambient),
        merchant: key.merchant,
        url: accepted_url(&state, &body.value.url)?,
        events: subscription(&body.value.events),
        secret: fresh_secret(&state.ambient),
        enabled: body.value.enabled.unwrap_or(true),
        failing_since: None,
        disabled: None,
        previous_secrets: Vec::new(),
        times_disabled: 0,
        created_at: state.ambient.now(),
    };
    let view = EndpointCreatedView::from(&endpoint);
    let location = [(header::LOCATION, format!("/v1/webhook_endpoints/{}", endpoint.id))];
    if !state.orders.create_endpoint(endpoint).await? {
        return Err(Problem::new(Kind::ENDPOINT_LIMIT, format!("at most {ENDPOINTS_PER_MERCHANT_MAX}")));
    }
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

/// List webhook endpoints, newest first
#[utoipa::path(
    get, path = "/v1/webhook_endpoints", tag = "webhooks", security(("secret_key" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100, 10 when absent"),
        ("starting_after" = Option<String>, Query, description = "The last endpoint of the page before"),
    ),
    responses((status = 200, description = "A page of endpoints", body = List<EndpointView>)),
)]
async fn list_endpoints(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    uri: http::Uri,
) -> Result<Json<List<EndpointView>>, Problem> {
    let page = state.orders.endpoints(key.merchant, Query::paged(&uri, &[]).page()?).await?;
    Ok(Json(List::new(page.items.iter().map(EndpointView::from).collect(), page.has_more)))
}

/// Read a webhook endpoint
#[utoipa::path(
    get, path = "/v1/webhook_endpoints/{id}", tag = "webhooks", security(("secret_key" = [])),
    params(("id" = String, Path, description = "`whe_…`")),
    responses((status = 200, description = "The endpoint, without its secret", body = EndpointView)),
)]
async fn get_endpoint(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(id): PathText,
) -> Result<Json<EndpointView>, Problem> {
    let id = parse_id(&id, "webhook endpoint")?;
    let endpoint = state.orders.endpoint(key.merchant, id).await?;
    Ok(Json(EndpointView::from(&endpoint.ok_or_else(|| Problem::not_found("webhook endpoint"))?)))
}

/// Change a webhook endpoint
#[utoipa::path(
    patch, path = "/v1/webhook_endpoints/{id}", tag = "webhooks", security(("secret_key" = [])),
    params(("id" = String, Path, description = "`whe_…`")),
    request_body = WebhookEndpointChange,
    responses((status = 200, description = "The changed endpoint", body = EndpointView)),
)]
async fn change_endpoint(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(id): PathText,
    body: Body<WebhookEndpointChange>,
) -> Result<Json<EndpointView>, Problem> {
    let id = parse_id(&id, "webhook endpoint")?;
    let WebhookEndpointChange { url, events, enabled } = body.value;
    let url = url.map(|url| accepted_url(&state, &url)).transpose()?;
    let change = EndpointChange { url, events: events.as_deref().map(subscription), enabled };
    let endpoint = state.orders.update_endpoint(key.merchant, id, change).await?;
    Ok(Json(EndpointView::from(&endpoint.ok_or_else(|| Problem::not_found("webhook endpoint"))?)))
}

/// Rotate the signing secret of a webhook endpoint
///
/// The new secret is shown in this answer only. During the overlap each message is signed with the former secrets as
/// well. If the answer is lost, ask again: the secret that the receiver has stays valid until its overlap is over.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}/rotate_secret", tag = "webhooks", security(("secret_key" = [])),
    params(("id" = String, Path, description = "`whe_…`")),
    request_body(content = Option<WebhookSecretRotate>),
    responses(
        (status = 200, description = "The endpoint with its new secret", body = EndpointCreatedView),
        (status = 409, description = "As many former secrets are valid as are allowed"),
    ),
)]
async fn rotate_secret(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(id): PathText,
    body: Body<WebhookSecretRotate>,
) -> Result<Json<EndpointCreatedView>, Problem> {
    let id = parse_id(&id, "webhook endpoint")?;
    let at = state.ambient.now();
    let hours = body.value.overlap_hours.unwrap_or(OVERLAP_HOURS_DEFAULT);
    let until = later(at, Duration::from_hours(hours));
    let rotation = SecretRotation { secret: fresh_secret(&state.ambient), at, until };
    match state.orders.rotate_secret(key.merchant, id, rotation).await? {
        SecretRotated::Rotated(endpoint) => Ok(Json(EndpointCreatedView::from(&*endpoint))),
        SecretRotated::TooMany => {
            let detail = format!("{PREVIOUS_SECRETS_MAX} former ones at most; `overlap_hours` 0 ends them");
            Err(Problem::new(Kind::SECRET_LIMIT, detail))
        }
        SecretRotated::NotFound => Err(Problem::not_found("webhook endpoint")),
    }
}

/// Remove a webhook endpoint
#[utoipa::path(
    delete, path = "/v1/webhook_endpoints/{id}", tag = "webhooks", security(("secret_key" = [])),
    params(("id" = String, Path, description = "`whe_…`")),
    responses((status = 204, description = "Removed")),
)]
async fn delete_endpoint(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    PathText(id): PathText,
) -> Result<StatusCode, Problem> {
    let id = parse_id(&id, "webhook endpoint")?;
    let removed = state.orders.delete_endpoint(key.merchant, id).await?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("webhook endpoint")) }
}
