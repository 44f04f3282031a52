//! Webhook endpoints and the log of attempts to reach them.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, time::between};
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
    /// Since when each attempt has failed.
    pub failing_since: Option<Timestamp>,
    /// When and why deliveries disabled it; `None` where its merchant did, or where it was enabled again.
    pub disabled: Option<Disabled>,
    /// How often deliveries have disabled it: the sequence of its events.
    pub times_disabled: u64,
    /// Created.
    pub created_at: Timestamp,
}

/// Disabled by what deliveries found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disabled {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: DisabledReason,
}

/// Why deliveries disabled an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisabledReason {
    /// Each attempt has failed for days.
    Failing,
    /// It answered 410.
    Gone,
}

impl DisabledReason {
    /// As the HTTP contract and the stores write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }
}

impl std::str::FromStr for DisabledReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Failing, Self::Gone].into_iter().find(|reason| reason.as_str() == text);
        known.ok_or_else(|| format!("no reason to disable an endpoint: `{text}`"))
    }
}

/// What an attempt found out about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointFinding {
    /// It took a message.
    Works,
    /// It took none; it is disabled if that has been so for this long.
    Fails {
        /// `None`: however long.
        disable_after: Option<Duration>,
    },
    /// It answered 410.
    Gone,
}

impl Endpoint {
    /// Takes in what an attempt found out. `None` where that changes nothing, so that nothing need be written; else
    /// whether the endpoint is disabled by it.
    pub fn take_in(&mut self, finding: EndpointFinding, at: Timestamp) -> Option<bool> {
        if !self.enabled {
            return None;
        }
        let reason = match (finding, self.failing_since) {
            (EndpointFinding::Works, since) => {
                self.failing_since = None;
                return since.map(|_| false);
            }
            (EndpointFinding::Fails { .. }, None) => {
                self.failing_since = Some(at);
                return Some(false);
            }
            (EndpointFinding::Fails { disable_after }, Some(since)) => {
                disable_after.filter(|longest| between(since, at) >= *longest)?;
                DisabledReason::Failing
            }
            (EndpointFinding::Gone, _) => DisabledReason::Gone,
        };
        self.enabled = false;
        self.disabled = Some(Disabled { at, reason });
        self.times_disabled += 1;
        Some(true)
    }
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
    /// On or off. On, it counts as one that has not failed, and so it does at a new address.
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

    /// Takes in what an attempt found out, see [`Endpoint::take_in`]; writes `webhook_endpoint.disabled` where that disables
    /// the endpoint. Whether it did.
    async fn note_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        finding: EndpointFinding,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

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
