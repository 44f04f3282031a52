//! Webhook endpoints and the log of attempts to reach them.

use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{EndpointId, EventId, EventKind, MerchantId, OrderId, Page, PageRequest},
    error::StoreError,
};

/// Endpoints a merchant may have.
pub const ENDPOINTS_PER_MERCHANT_MAX: u32 = 50;

/// Where a merchant wants to be told.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub merchant: MerchantId,
    /// Checked when created and again, after resolution, on every attempt.
    pub url: String,
    /// Which events.
    pub events: Subscription,
    /// `whsec_` and base64 of 24 to 64 bytes. Shown to its merchant only.
    pub secret: String,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Created.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// Which events an endpoint gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subscription {
    /// All, future kinds included.
    All,
    /// These.
    Kinds(Vec<EventKind>),
}

impl Subscription {
    /// Whether it includes a kind.
    pub fn includes(&self, kind: EventKind) -> bool {
        match self {
            Self::All => true,
            Self::Kinds(kinds) => kinds.contains(&kind),
        }
    }
}

/// What to change of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointChange {
    /// New address.
    pub url: Option<String>,
    /// New subscription.
    pub events: Option<Subscription>,
    /// On or off.
    pub enabled: Option<bool>,
}

/// One attempt to deliver an event to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookAttempt {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The event.
    pub event: EventId,
    /// The order the event is about.
    pub order: Option<OrderId>,
    /// From 1.
    pub attempt: u32,
    /// Begun.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// HTTP status, if an answer came.
    pub status: Option<u16>,
    /// What went wrong, as a stable code (`timeout`, `connect`, `tls`, `unreachable_name`, `status`), if anything.
    pub error: Option<String>,
}

impl WebhookAttempt {
    /// Whether the receiver took it: any 2xx.
    pub fn delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Keeps endpoints and attempts.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Adds an endpoint; false when the merchant has [`ENDPOINTS_PER_MERCHANT_MAX`] already.
    async fn create_endpoint(&self, endpoint: Endpoint) -> Result<bool, StoreError>;

    /// A merchant's endpoint.
    async fn endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<Option<Endpoint>, StoreError>;

    /// Any endpoint, for workers.
    async fn endpoint_by_id(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError>;

    /// A merchant's endpoints, newest first.
    async fn endpoints(
        &self,
        merchant: MerchantId,
        page: PageRequest<EndpointId>,
    ) -> Result<Page<Endpoint>, StoreError>;

    /// Changes an endpoint.
    async fn update_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError>;

    /// Removes an endpoint; its attempts stay. False when there is none.
    async fn delete_endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<bool, StoreError>;

    /// The enabled endpoints of a merchant that want this kind.
    async fn subscribers(&self, merchant: MerchantId, kind: EventKind)
    -> Result<Vec<EndpointId>, StoreError>;

    /// Records an attempt; the same (endpoint, event, attempt, at) again changes nothing.
    async fn record_attempt(&self, attempt: WebhookAttempt) -> Result<(), StoreError>;

    /// Attempts for an order's events, oldest first, at most 1000.
    async fn attempts_of_order(&self, order: OrderId) -> Result<Vec<WebhookAttempt>, StoreError>;

    /// Whether this event was taken by this endpoint already.
    async fn delivered(&self, endpoint: EndpointId, event: EventId) -> Result<bool, StoreError>;
}
