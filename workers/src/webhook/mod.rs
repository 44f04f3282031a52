//! Posts events to merchants' endpoints, signed by the Standard Webhooks specification 1.0.
//!
//! Guarantees: only addresses that the [`UrlPolicy`] allows are dialled, whatever a name resolves to at that moment;
//! redirects are not followed and proxies not used; an answer is bounded in time and size. What went wrong is a
//! stable code, never the receiver's or the network's words.
//! Does not retry and keeps no log: see [`crate::jobs::DeliverWebhook`].

mod body;
mod error;
mod resolver;

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp, TraceContext};
use reqwest::Client;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use store::{domain::EventId, webhook_url::UrlPolicy};
use url::Url;

pub use body::body_of;

use crate::http_client::{install_tls_provider, read_bounded, retry_after};

/// Longest time for connecting, sending and the whole answer.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an answer is read: enough to keep the connection for the next event, useless for anything else.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
const IDLE_PER_HOST_MAX: usize = 8;

/// Posts events; clones share the connections.
#[derive(Clone)]
pub struct WebhookSender {
    client: Client,
    policy: UrlPolicy,
    ambient: Ambient,
}

/// Where to post, and about what.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The endpoint's address.
    pub url: &'a str,
    /// The endpoint's secret, `whsec_…`.
    pub secret: &'a str,
    /// The event, by which receivers tell repetitions.
    pub event: EventId,
}

/// What came of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// What went wrong: `status` for any but 2xx, or why no answer came (`timeout`, `connect`, `dns`, `tls`,
    /// `blocked_address`, `bad_url`, `connection_lost`).
    pub error: Option<&'static str>,
    /// How long the receiver asks us to wait (429 and 503).
    pub retry_after: Option<Duration>,
}

impl Answer {
    const fn failed(error: &'static str) -> Self {
        Self { status: None, error: Some(error), retry_after: None }
    }
}

/// The endpoint's secret is no base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint's secret is damaged")]
pub struct SecretError;

impl WebhookSender {
    /// Sets up the client; one for the whole process, so that connections stay warm.
    pub fn new(policy: UrlPolicy, ambient: Ambient) -> Result<Self, reqwest::Error> {
        install_tls_provider();
        let client = Client::builder()
            .user_agent(concat!("Orderworks/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(resolver::GuardedResolver { policy }))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .build()?;
        Ok(Self { client, policy, ambient })
    }

    /// Signs and posts a body; `at` is the time of this attempt.
    pub async fn post(
        &self,
        target: &Target<'_>,
        body: String,
        trace: Option<TraceContext>,
        at: Timestamp,
    ) -> Result<Answer, SecretError> {
        let id = target.event.to_string();
        let signer = Webhook::new(target.secret).map_err(|_| SecretError)?;
        let signature = signer.sign(&id, at.as_second(), body.as_bytes()).map_err(|_| SecretError)?;
        // Literal addresses never reach the resolver, so the form is judged on every attempt as well.
        let url = match self.policy.check(target.url) {
            Ok(url) => url,
            Err(store::webhook_url::UrlRefusal::Address) => return Ok(Answer::failed("blocked_address")),
            Err(_) => return Ok(Answer::failed("bad_url")),
        };
        let headers = Headers { id, timestamp: at.as_second(), signature, trace };
        Ok(self.dial(url, headers, body).await)
    }

    async fn dial(&self, url: Url, headers: Headers, body: String) -> Answer {
        let mut request = self
            .client
            .post(url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, headers.id)
            .header(HEADER_WEBHOOK_TIMESTAMP, headers.timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, headers.signature);
        if let Some(trace) = headers.trace {
            request = request.header("traceparent", trace.to_string());
        }
        let response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => return Answer::failed(error::code(&error)),
        };
        let status = response.status();
        let throttled = matches!(status.as_u16(), 429 | 503);
        let wait = if throttled { retry_after(response.headers(), self.ambient.now()) } else { None };
        // The status is the answer; a body that breaks off or never ends does not change it.
        if let Err(error) = read_bounded(response, RESPONSE_BYTES_MAX).await {
            tracing::debug!(code = error::code(&error), "reading a webhook answer");
        }
        let error = (!status.is_success()).then_some("status");
        Answer { status: Some(status.as_u16()), error, retry_after: wait }
    }
}

struct Headers {
    id: String,
    timestamp: i64,
    signature: String,
    trace: Option<TraceContext>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_resolves_to_a_blocked_address_is_never_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let sender =
            WebhookSender::new(UrlPolicy { allow_loopback: false }, Ambient::system()).expect("a client");
        // Past the check of the URL, as a name under a stranger's control would get.
        let url = Url::parse(&format!("http://localhost:{port}/hook")).expect("a URL");
        let headers =
            Headers { id: "evt_1".to_owned(), timestamp: 1, signature: "v1,x".to_owned(), trace: None };
        let answer = sender.dial(url, headers, "{}".to_owned()).await;
        assert_eq!(answer, Answer::failed("blocked_address"));
        let accepted = futures::FutureExt::now_or_never(listener.accept());
        assert!(accepted.is_none(), "nobody knocked");
    }
}
