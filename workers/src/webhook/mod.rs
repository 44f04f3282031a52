//! Webhook sender: posts events to merchants' endpoints, signed by the Standard Webhooks specification 1.0.
//!
//! Guarantees: only addresses that the [`UrlPolicy`] allows are dialled, whatever a name resolves to at that moment;
//! redirects are not followed and proxies not used; an answer is bounded in time and size. A failure is a stable code,
//! never a text of the receiver or the network.
//! Does not retry and keeps no log: see [`crate::jobs::DeliverWebhook`].
//!
//! Posts are checked and signed here and sent over HTTP, or through a [`WebhookCarrier`] in simulations.

mod body;
mod error;
mod resolver;
mod shares;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use async_trait::async_trait;
use base::{Ambient, Timestamp, TraceContext};
use reqwest::Client;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use store::{domain::EventId, webhook_url::UrlPolicy, webhooks::Endpoint};
use url::Url;

pub use body::body_of;
use shares::Shares;
pub use shares::{FAILURES_MAX, Message, Permit, REST_MAX, ShareLimits, Wait};

use crate::http_client::{install_tls_provider, read_bounded, retry_after};

/// Longest time for connecting, sending and the whole answer.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes read of an answer: enough to keep the connection for the next event; the body is not used.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
const IDLE_PER_HOST_MAX: usize = 8;
/// Default time without a success after which an endpoint is disabled; the same as at Svix.
const DISABLE_AFTER: Duration = Duration::from_hours(5 * 24);
/// Default number of slots that are shared out.
const SLOTS: usize = 16;

/// Signs and posts events; clones share the connections and the slots.
#[derive(Clone)]
pub struct WebhookSender {
    carrier: Carrier,
    policy: UrlPolicy,
    shares: Arc<Shares>,
    disable_after: Option<Duration>,
    endpoints_disabled: Arc<AtomicU64>,
    ambient: Ambient,
}

#[derive(Clone)]
enum Carrier {
    Http(Client),
    Other(Arc<dyn WebhookCarrier>),
}

/// Transport in place of HTTP, for simulations.
#[async_trait]
pub trait WebhookCarrier: Send + Sync + 'static {
    /// Sends a post and returns its result.
    async fn carry(&self, post: SignedPost) -> Answer;
}

/// A checked and signed post.
#[derive(Debug, Clone)]
pub struct SignedPost {
    /// Target; its form is allowed by the policy, its resolved address is not yet checked.
    pub url: Url,
    /// The event's id (`webhook-id`), by which receivers recognise repetitions.
    pub id: String,
    /// Time of the attempt, in seconds since the epoch.
    pub timestamp: i64,
    /// Signature of id, timestamp and body.
    pub signature: String,
    /// Trace context, sent as `traceparent`.
    pub trace: Option<TraceContext>,
    /// JSON body.
    pub body: String,
    /// Longest time for connecting, sending and the whole answer.
    pub timeout: Duration,
}

/// Endpoint and event of a post.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// URL of the endpoint.
    pub url: &'a str,
    /// The endpoint's secret, `whsec_…`.
    pub secret: &'a str,
    /// The event; its id is the `webhook-id`.
    pub event: EventId,
}

/// Result of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// Failure code: `status` for any status but 2xx, or why no answer came (`timeout`, `connect`, `tls`,
    /// `unreachable_name`, `bad_url`, `connection_lost`).
    pub error: Option<&'static str>,
    /// Wait requested by `Retry-After` (429 and 503 only).
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// An answer with this status and requested wait.
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        let error = (!(200..300).contains(&status)).then_some("status");
        Self { status: Some(status), error, retry_after }
    }

    /// No answer, for the reason that the code names.
    pub const fn failed(error: &'static str) -> Self {
        Self { status: None, error: Some(error), retry_after: None }
    }
}

/// The secret of the endpoint is not valid base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid endpoint secret")]
pub struct SecretError;

impl WebhookSender {
    /// Sets up the HTTP client; one per process, so that connections are reused.
    pub fn new(policy: UrlPolicy, ambient: Ambient) -> Result<Self, reqwest::Error> {
        install_tls_provider();
        let client = Client::builder()
            .user_agent(concat!("Orderworks/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(resolver::GuardedResolver { policy }))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .build()?;
        Ok(Self::over(Carrier::Http(client), policy, ambient))
    }

    /// Sends through another transport; policy check and signature stay.
    pub fn through(carrier: Arc<dyn WebhookCarrier>, policy: UrlPolicy, ambient: Ambient) -> Self {
        Self::over(Carrier::Other(carrier), policy, ambient)
    }

    fn over(carrier: Carrier, policy: UrlPolicy, ambient: Ambient) -> Self {
        let shares = Shares::new(ShareLimits::of_slots(SLOTS), ambient.clone());
        let endpoints_disabled = Arc::default();
        Self { carrier, policy, shares, disable_after: Some(DISABLE_AFTER), endpoints_disabled, ambient }
    }

    /// Sets the shares; the default is those of 16 slots.
    #[must_use]
    pub fn sharing(self, limits: ShareLimits) -> Self {
        Self { shares: Shares::new(limits, self.ambient.clone()), ..self }
    }

    /// Sets the time without a success after which an endpoint is disabled, five days by default; `None`: never.
    #[must_use]
    pub fn disabling_after(self, disable_after: Option<Duration>) -> Self {
        Self { disable_after, ..self }
    }

    /// Time without a success after which an endpoint is disabled; `None`: never.
    pub fn disable_after(&self) -> Option<Duration> {
        self.disable_after
    }

    /// A permit to post to an endpoint, or how long to wait.
    pub fn enter(&self, endpoint: &Endpoint, message: Message) -> Result<Permit, Wait> {
        self.shares.enter(endpoint.merchant, endpoint.id, message)
    }

    /// Number of endpoints disabled since the start; incremented by deliveries.
    pub fn endpoints_disabled(&self) -> &Arc<AtomicU64> {
        &self.endpoints_disabled
    }

    /// Signs and posts a body; `at` is the time of this attempt.
    pub async fn post(
        &self,
        permit: &Permit,
        target: &Target<'_>,
        body: String,
        trace: Option<TraceContext>,
        at: Timestamp,
    ) -> Result<Answer, SecretError> {
        let id = target.event.to_string();
        let signer = Webhook::new(target.secret).map_err(|_| SecretError)?;
        let signature = signer.sign(&id, at.as_second(), body.as_bytes()).map_err(|_| SecretError)?;
        // Literal addresses never reach the resolver, so the form is checked on every attempt as well.
        let url = match self.policy.check(target.url) {
            Ok(url) => url,
            Err(store::webhook_url::UrlRefusal::Address) => {
                return Ok(Answer::failed(error::UNREACHABLE_NAME));
            }
            Err(_) => return Ok(Answer::failed("bad_url")),
        };
        let (timestamp, timeout) = (at.as_second(), permit.timeout());
        let post = SignedPost { url, id, timestamp, signature, trace, body, timeout };
        Ok(match &self.carrier {
            Carrier::Http(client) => self.dial(client, post).await,
            Carrier::Other(carrier) => carrier.carry(post).await,
        })
    }

    async fn dial(&self, client: &Client, post: SignedPost) -> Answer {
        let mut request = client
            .post(post.url)
            .timeout(post.timeout)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, post.id)
            .header(HEADER_WEBHOOK_TIMESTAMP, post.timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, post.signature);
        if let Some(trace) = post.trace {
            request = request.header("traceparent", trace.to_string());
        }
        let response = match request.body(post.body).send().await {
            Ok(response) => response,
            Err(error) => return Answer::failed(error::code(&error)),
        };
        let status = response.status();
        let throttled = matches!(status.as_u16(), 429 | 503);
        let wait = if throttled { retry_after(response.headers(), self.ambient.now()) } else { None };
        // The status decides; a body that breaks off or never ends does not change it.
        if let Err(error) = read_bounded(response, RESPONSE_BYTES_MAX).await {
            tracing::debug!(code = error::code(&error), "webhook response body not read");
        }
        Answer::of_status(status.as_u16(), wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post_to(url: &str) -> SignedPost {
        SignedPost {
            // Bypasses the URL check, like a name whose records an attacker changes.
            url: Url::parse(url).expect("a URL"),
            id: "evt_1".to_owned(),
            timestamp: 1,
            signature: "v1,x".to_owned(),
            trace: None,
            body: "{}".to_owned(),
            timeout: TOTAL_TIMEOUT,
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_looks_like_one_that_may_not_be_reached() {
        let sender =
            WebhookSender::new(UrlPolicy { allow_loopback: false }, Ambient::system()).expect("a client");
        let Carrier::Http(client) = &sender.carrier else { unreachable!("made with a client") };
        // No resolver takes a label of 64 characters, and no name ends in `.invalid` (RFC 6761).
        for missing in ["a".repeat(64) + ".test", "missing.invalid".to_owned()] {
            for scheme in ["http", "https"] {
                let nowhere = sender.dial(client, post_to(&format!("{scheme}://{missing}:8443/hook"))).await;
                let internal = sender.dial(client, post_to(&format!("{scheme}://localhost:8443/hook"))).await;
                let expected = Answer::failed("unreachable_name");
                assert_eq!((nowhere, internal), (expected, expected), "{scheme} {missing}");
            }
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_blocked_address_is_never_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let sender =
            WebhookSender::new(UrlPolicy { allow_loopback: false }, Ambient::system()).expect("a client");
        let Carrier::Http(client) = &sender.carrier else { unreachable!("made with a client") };
        let answer = sender.dial(client, post_to(&format!("http://localhost:{port}/hook"))).await;
        assert_eq!(answer, Answer::failed("unreachable_name"));
        let accepted = futures::FutureExt::now_or_never(listener.accept());
        assert!(accepted.is_none(), "no connection attempt");
    }
}
