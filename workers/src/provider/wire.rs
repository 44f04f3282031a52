//! Shared parts of the provider clients: set-up, classification of transport errors, bounded answers.

use std::time::Duration;

use base::spans;
use http::{Method, StatusCode};
use reqwest::{Client, Request, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tracing::{Instrument, Span, field::Empty, info_span};
use url::Url;

use webhooks::http_client::{install_tls_provider, read_bounded};

use super::{ProviderError, Result};

/// Most bytes of an answer: a page of a hundred charges, some with the most metadata allowed.
const RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client")]
pub struct ClientError(#[from] reqwest::Error);

/// Address of a provider and the key to it.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Base URL; requests replace its path.
    pub url: Url,
    /// Sent as bearer token.
    pub key: SecretString,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// HTTP client of a provider, without redirects and proxies; clones share the connections.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: Client,
    config: ClientConfig,
}

impl HttpClient {
    pub(super) fn new(config: ClientConfig) -> Result<Self, ClientError> {
        install_tls_provider();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("Orderworks/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, config })
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.config.url.clone();
        url.set_path(path);
        self.client.request(method, url).bearer_auth(self.config.key.expose_secret())
    }
}

/// Sends a request; an answer of any status is `Ok`. The provider is not told the trace: it records none of ours.
pub(super) async fn send(request: RequestBuilder) -> Result<Response> {
    let (client, request) = request.build_split();
    let request = request.map_err(|error| classify(&error))?;
    let span = call_span(&request);
    let answer = client.execute(request).instrument(span.clone()).await.map_err(|error| classify(&error));
    match &answer {
        Ok(answer) => record_status(&span, answer.status()),
        Err(error) => spans::fail(&span, &error.to_string()),
    }
    answer
}

/// The span that is recorded of a request; without path and query, which hold ids of the provider.
fn call_span(request: &Request) -> Span {
    let (method, url) = (request.method().as_str(), request.url());
    info_span!(
        target: spans::TARGET,
        "call",
        otel.name = method,
        otel.kind = "client",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "http.request.method" = method,
        "server.address" = url.host_str(),
        "server.port" = url.port_or_known_default().map(i64::from),
        "http.response.status_code" = Empty,
    )
}

fn record_status(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_client_error() || status.is_server_error() {
        spans::fail(span, status.as_str());
    }
}

pub(super) async fn read(response: Response) -> Result<(StatusCode, Vec<u8>)> {
    let status = response.status();
    let (body, whole) = read_bounded(response, RESPONSE_BYTES_MAX).await.map_err(|error| classify(&error))?;
    if whole { Ok((status, body)) } else { Err(ProviderError::Protocol { detail: "answer_too_large" }) }
}

pub(super) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|_| ProviderError::Protocol { detail: "undecodable_answer" })
}

/// Classifies a transport error: a request without a connection had no effect; later the outcome is unknown.
fn classify(error: &reqwest::Error) -> ProviderError {
    if error.is_connect() {
        ProviderError::Unavailable { retry_after: None }
    } else if error.is_timeout() {
        ProviderError::Unknown { cause: "timeout" }
    } else if error.is_builder() {
        ProviderError::Protocol { detail: "bad_request" }
    } else {
        ProviderError::Unknown { cause: "connection_lost" }
    }
}
