//! Response bodies of webhook endpoints.

use base::Timestamp;
use serde::Serialize;
use store::webhooks::{Endpoint, Subscription};
use utoipa::ToSchema;

/// A webhook endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
pub(crate) struct EndpointView {
    /// Always `webhook_endpoint`.
    #[schema(example = "webhook_endpoint")]
    object: &'static str,
    /// Its id, `whe_…`.
    id: String,
    /// The address that webhooks are sent to.
    url: String,
    /// Kinds of events, or `*` for all.
    #[schema(example = json!(["order.paid", "order.fulfilled"]))]
    events: Vec<String>,
    /// Whether webhooks are sent.
    enabled: bool,
    /// When and why deliveries disabled the endpoint. `PATCH` with `enabled` true enables it again.
    disabled: Option<DisabledView>,
    /// Until when messages are signed with a former secret as well, after a rotation.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_secret_until: Option<Timestamp>,
    /// Time of creation.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// When and why deliveries disabled an endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpointDisabled)]
pub(crate) struct DisabledView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `failing`: no message was accepted for days. `gone`: the endpoint answered 410.
    #[schema(example = "failing")]
    reason: &'static str,
}

/// An endpoint with its new secret, which is shown in this response only.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpointCreated)]
pub(crate) struct EndpointCreatedView {
    #[serde(flatten)]
    endpoint: EndpointView,
    /// Key to verify signatures with (Standard Webhooks): `whsec_` and base64.
    #[schema(example = "whsec_…")]
    secret: String,
}

impl From<&Endpoint> for EndpointView {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            object: "webhook_endpoint",
            id: endpoint.id.to_string(),
            url: endpoint.url.clone(),
            events: match &endpoint.events {
                Subscription::All => vec!["*".to_owned()],
                Subscription::Kinds(kinds) => kinds.clone(),
                Subscription::Unreadable => Vec::new(),
            },
            enabled: endpoint.enabled,
            disabled: endpoint
                .disabled
                .map(|disabled| DisabledView { at: disabled.at, reason: disabled.reason.as_str() }),
            previous_secret_until: endpoint.previous_secrets.iter().map(|previous| previous.until).max(),
            created_at: endpoint.created_at,
        }
    }
}

impl From<&Endpoint> for EndpointCreatedView {
    fn from(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.into(), secret: endpoint.secret.clone() }
    }
}
