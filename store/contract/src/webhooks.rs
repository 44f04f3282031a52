//! Webhook endpoints and the log of delivery attempts.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, time::between};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{EndpointId, EventId, EventKind, MerchantId, OrderId, Page, PageRequest},
    error::Result,
    names::names,
};

/// Endpoints a merchant may have.
pub const ENDPOINTS_PER_MERCHANT_MAX: u32 = 50;

/// Former secrets of an endpoint that may be valid beside its secret.
pub const PREVIOUS_SECRETS_MAX: usize = 4;

/// A URL to which a merchant's events are sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub merchant: MerchantId,
    /// Validated when created and, after resolution of its name, on every attempt.
    pub url: String,
    pub events: Subscription,
    /// Signing secret: `whsec_` and base64 of 24 to 64 bytes. Shown to its merchant only.
    pub secret: String,
    /// Former secrets with which messages are signed as well, newest first.
    pub previous_secrets: Vec<PreviousSecret>,
    pub enabled: bool,
    /// Time of the first failed attempt since the last successful one.
    pub failing_since: Option<Timestamp>,
    /// When and why failed deliveries disabled it; `None` when the merchant disabled it, or once it is enabled again.
    pub disabled: Option<Disabled>,
    /// How often failed deliveries have disabled it: the sequence of its events.
    pub times_disabled: u64,
    pub created_at: Timestamp,
}

/// A former signing secret of an endpoint.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// As [`Endpoint::secret`].
    pub secret: String,
    /// When messages are no longer signed with it.
    pub until: Timestamp,
}

/// A new signing secret of an endpoint.
#[derive(Clone)]
pub struct SecretRotation {
    /// As [`Endpoint::secret`].
    pub secret: String,
    pub at: Timestamp,
    /// When former secrets end at the latest.
    pub until: Timestamp,
}

/// Result of [`Webhooks::rotate_secret`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRotated {
    Rotated(Box<Endpoint>),
    /// [`PREVIOUS_SECRETS_MAX`] former secrets are still valid; nothing changed.
    TooMany,
    /// No such endpoint of this merchant.
    NotFound,
}

/// Time and reason of disabling an endpoint because of its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disabled {
    pub at: Timestamp,
    pub reason: DisabledReason,
}

/// Reason for disabling an endpoint because of its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisabledReason {
    /// Every attempt of several days has failed.
    Failing,
    /// It answered 410 Gone.
    Gone,
}

names!(DisabledReason, "reason for disabling an endpoint", { Failing => "failing", Gone => "gone" });

/// What a delivery attempt says about the health of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointFinding {
    Works,
    /// The message was not delivered; the endpoint is disabled if every attempt has failed for `disable_after`.
    Fails {
        /// `None`: never disabled for failing.
        disable_after: Option<Duration>,
    },
    /// It answered 410 Gone.
    Gone,
}

impl Endpoint {
    /// The secrets that messages are signed with at this time, the newest first.
    pub fn secrets(&self, at: Timestamp) -> Vec<&str> {
        let valid = self.previous_secrets.iter().filter(|previous| previous.until > at);
        std::iter::once(&self.secret)
            .chain(valid.map(|previous| &previous.secret))
            .map(String::as_str)
            .collect()
    }

    /// Replaces the secret. The one before it stays valid until the given time, and so do earlier ones whose own time
    /// is not over: a request repeated because its answer was lost takes no secret from a receiver. False, without a
    /// change, where more than [`PREVIOUS_SECRETS_MAX`] would be valid.
    pub fn rotate_secret(&mut self, rotation: SecretRotation) -> bool {
        if self.secret == rotation.secret {
            return true;
        }
        let SecretRotation { secret, at, until } = rotation;
        let replaced = PreviousSecret { secret: self.secret.clone(), until };
        let earlier = self.previous_secrets.iter().cloned();
        let valid = std::iter::once(replaced)
            .chain(earlier.map(|earlier| PreviousSecret { until: earlier.until.min(until), ..earlier }))
            .filter(|previous| previous.until > at);
        let previous_secrets: Vec<_> = valid.collect();
        if previous_secrets.len() > PREVIOUS_SECRETS_MAX {
            return false;
        }
        self.secret = secret;
        self.previous_secrets = previous_secrets;
        true
    }

    /// Applies the finding of an attempt. `None` when nothing changes, so that no write is needed; otherwise whether
    /// the finding disabled the endpoint.
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

/// The kinds of events an endpoint gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subscription {
    /// All kinds, future ones included.
    All,
    /// The kinds of these names. A name that this release does not know stays, and none of its events has it.
    Kinds(Vec<String>),
    /// Of a form that this release cannot read. Counts as all kinds, so that no event is lost: deliveries wait for a
    /// release that can.
    #[serde(skip)]
    Unreadable,
}

impl Subscription {
    /// A subscription to these kinds.
    pub fn of(kinds: impl IntoIterator<Item = EventKind>) -> Self {
        Self::Kinds(kinds.into_iter().map(|kind| kind.as_str().to_owned()).collect())
    }

    /// Whether it includes a kind.
    pub fn includes(&self, kind: EventKind) -> bool {
        match self {
            Self::All | Self::Unreadable => true,
            Self::Kinds(kinds) => kinds.iter().any(|name| name == kind.as_str()),
        }
    }
}

/// Fields to change of an endpoint; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointChange {
    /// New URL; the record of failures is cleared.
    pub url: Option<String>,
    /// New subscription.
    pub events: Option<Subscription>,
    /// Enables or disables it; enabling clears the record of failures.
    pub enabled: Option<bool>,
}

/// One attempt to deliver an event to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookAttempt {
    pub endpoint: EndpointId,
    pub event: EventId,
    /// The order the event is about.
    pub order: Option<OrderId>,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    /// Time from the start to the answer or error.
    pub duration: Duration,
    /// HTTP status, if an answer came.
    pub status: Option<u16>,
    /// Stable error code (`timeout`, `connect`, `tls`, `unreachable_name`, `status`), if it failed.
    pub error: Option<String>,
}

impl WebhookAttempt {
    /// Whether the receiver accepted the event: any 2xx.
    pub fn delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Webhook endpoints and delivery attempts.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Adds an endpoint; false when the merchant has [`ENDPOINTS_PER_MERCHANT_MAX`] already.
    async fn create_endpoint(&self, endpoint: Endpoint) -> Result<bool>;

    /// A merchant's endpoint.
    async fn endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<Option<Endpoint>>;

    /// An endpoint of any merchant, for workers.
    async fn endpoint_by_id(&self, id: EndpointId) -> Result<Option<Endpoint>>;

    /// A merchant's endpoints, newest first.
    async fn endpoints(&self, merchant: MerchantId, page: PageRequest<EndpointId>) -> Result<Page<Endpoint>>;

    /// Changes an endpoint; `None` when there is no such endpoint of this merchant.
    async fn update_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>>;

    /// Replaces an endpoint's signing secret, see [`Endpoint::rotate_secret`]. The same secret again changes nothing.
    async fn rotate_secret(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        rotation: SecretRotation,
    ) -> Result<SecretRotated>;

    /// Applies the finding of an attempt, see [`Endpoint::take_in`]; writes `webhook_endpoint.disabled` when it
    /// disables the endpoint. Returns whether it did. Nothing changes when the URL that was tried is no longer the
    /// endpoint's.
    async fn note_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        tried: &str,
        finding: EndpointFinding,
        at: Timestamp,
    ) -> Result<bool>;

    /// Deletes an endpoint; its attempts stay. False when there is none.
    async fn delete_endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<bool>;

    /// The enabled endpoints of a merchant that subscribe to this kind.
    async fn subscribers(&self, merchant: MerchantId, kind: EventKind) -> Result<Vec<EndpointId>>;

    /// Records an attempt; the same (endpoint, event, attempt, at) again changes nothing.
    async fn record_attempt(&self, attempt: WebhookAttempt) -> Result<()>;

    /// Attempts for an order's events, oldest first, at most 1000.
    async fn attempts_of_order(&self, order: OrderId) -> Result<Vec<WebhookAttempt>>;

    /// Whether an attempt to deliver this event to this endpoint has succeeded.
    async fn delivered(&self, endpoint: EndpointId, event: EventId) -> Result<bool>;
}
