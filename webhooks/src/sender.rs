//! Webhook sender: checks, signs and posts through a [`WebhookCarrier`], which is HTTP except in simulations.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Ambient, Timestamp, TraceContext, spans};
use reqwest::Client;
use tracing::{Instrument, Span, field::Empty, info_span};
use url::Url;

use crate::{
    answer::Answer,
    client::{self, Signed},
    failure,
    http_client::{read_bounded, retry_after},
    signature::{SecretError, sign},
    url_policy::{UrlPolicy, UrlRefusal},
};

/// Longest time for connecting, sending and the whole answer; [`Post::timeout`] is at most this.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes read of an answer: enough to keep the connection for the next event; the body is not used.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// Signs and posts events; clones share the connections.
#[derive(Clone)]
pub struct WebhookSender {
    carrier: Arc<dyn WebhookCarrier>,
    policy: UrlPolicy,
}

/// Transport of posts: HTTP, or that of a simulation.
#[async_trait]
pub trait WebhookCarrier: Send + Sync + 'static {
    async fn carry(&self, post: SignedPost) -> Answer;
}

/// A post that is not yet checked and signed.
pub struct Post<'a> {
    pub url: &'a str,
    /// The endpoint's secrets, `whsec_…`: one, and for the time of a rotation former ones.
    pub secrets: Vec<&'a str>,
    /// The event's id (`webhook-id`), by which receivers recognise repetitions.
    pub id: String,
    pub body: String,
    /// Trace context, sent as `traceparent` and `tracestate`; where spans are recorded, the post's own is sent.
    pub trace: Option<TraceContext>,
    /// Time of this attempt.
    pub at: Timestamp,
    /// Longest time for connecting, sending and the whole answer, see [`crate::shares::Permit::timeout`].
    pub timeout: Duration,
}

/// A checked and signed post. Fields without a line are those of [`Post`].
#[derive(Debug, Clone)]
pub struct SignedPost {
    /// Target; its form is allowed by the policy, its resolved address is not yet checked.
    pub url: Url,
    pub id: String,
    /// Time of the attempt, in seconds since the epoch.
    pub timestamp: i64,
    /// Signatures of id, timestamp and body, one per secret, between blanks.
    pub signature: String,
    pub trace: Option<TraceContext>,
    pub body: String,
    pub timeout: Duration,
}

impl WebhookSender {
    /// Sends over HTTP; one per process, so that connections are reused.
    pub fn new(policy: UrlPolicy, ambient: Ambient) -> Result<Self, reqwest::Error> {
        Ok(Self::through(Arc::new(HttpCarrier::new(policy, ambient)?), policy))
    }

    pub fn through(carrier: Arc<dyn WebhookCarrier>, policy: UrlPolicy) -> Self {
        Self { carrier, policy }
    }

    pub async fn post(&self, post: Post<'_>) -> Result<Answer, SecretError> {
        let signature = sign(&post.secrets, &post.id, post.at, &post.body)?;
        // Literal addresses never reach the resolver, so the form is checked on every attempt as well.
        let url = match self.policy.check(post.url) {
            Ok(url) => url,
            Err(UrlRefusal::Address) => return Ok(Answer::failed(failure::UNREACHABLE_NAME)),
            Err(_) => return Ok(Answer::failed("bad_url")),
        };
        let Post { id, body, trace, at, timeout, .. } = post;
        let timeout = timeout.min(TOTAL_TIMEOUT);
        let span = post_span(&url);
        let trace = spans::begin(&span, trace.as_ref()).trace;
        let post = SignedPost { url, id, timestamp: at.as_second(), signature, trace, body, timeout };
        let answer = self.carrier.carry(post).instrument(span.clone()).await;
        record_answer(&span, &answer);
        Ok(answer)
    }
}

/// The span that is recorded of a post; without path and query, which may hold secrets.
fn post_span(url: &Url) -> Span {
    info_span!(
        target: spans::TARGET,
        "post",
        otel.name = "POST",
        otel.kind = "client",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "http.request.method" = "POST",
        "server.address" = url.host_str(),
        "server.port" = url.port_or_known_default().map(i64::from),
        "http.response.status_code" = Empty,
    )
}

fn record_answer(span: &Span, answer: &Answer) {
    if let Some(status) = answer.status {
        span.record("http.response.status_code", i64::from(status));
    }
    match (answer.status, answer.error) {
        (Some(status), Some(_)) => spans::fail(span, &status.to_string()),
        (None, Some(code)) => spans::fail(span, code),
        (_, None) => {}
    }
}

struct HttpCarrier {
    client: Client,
    ambient: Ambient,
}

impl HttpCarrier {
    fn new(policy: UrlPolicy, ambient: Ambient) -> Result<Self, reqwest::Error> {
        Ok(Self { client: client::guarded(policy)?, ambient })
    }
}

#[async_trait]
impl WebhookCarrier for HttpCarrier {
    async fn carry(&self, post: SignedPost) -> Answer {
        let SignedPost { url, id, timestamp, signature, trace, body, timeout } = post;
        let signed = Signed { id, timestamp, signature, trace };
        let request = client::with_headers(self.client.post(url).timeout(timeout), signed);
        let response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => return Answer::failed(failure::code(&error)),
        };
        let status = response.status();
        let throttled = matches!(status.as_u16(), 429 | 503);
        let wait = if throttled { retry_after(response.headers(), self.ambient.now()) } else { None };
        // The status decides; a body that breaks off or never ends does not change it.
        if let Err(error) = read_bounded(response, RESPONSE_BYTES_MAX).await {
            tracing::debug!(code = failure::code(&error), "webhook response body not read");
        }
        Answer::of_status(status.as_u16(), wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrier() -> HttpCarrier {
        HttpCarrier::new(UrlPolicy { allow_loopback: false }, Ambient::system()).expect("a client")
    }

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
        let carrier = carrier();
        // No resolver takes a label of 64 characters, and no name ends in `.invalid` (RFC 6761).
        for missing in ["a".repeat(64) + ".test", "missing.invalid".to_owned()] {
            for scheme in ["http", "https"] {
                let nowhere = carrier.carry(post_to(&format!("{scheme}://{missing}:8443/hook"))).await;
                let internal = carrier.carry(post_to(&format!("{scheme}://localhost:8443/hook"))).await;
                let expected = Answer::failed("unreachable_name");
                assert_eq!((nowhere, internal), (expected, expected), "{scheme} {missing}");
            }
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_blocked_address_is_never_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let answer = carrier().carry(post_to(&format!("http://localhost:{port}/hook"))).await;
        assert_eq!(answer, Answer::failed("unreachable_name"));
        let accepted = futures::FutureExt::now_or_never(listener.accept());
        assert!(accepted.is_none(), "no connection attempt");
    }
}
