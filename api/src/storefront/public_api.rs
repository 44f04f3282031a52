//! Client of the public API within the process: the storefront's only way to the shop.
//!
//! Guarantees: a request passes every layer of the API, with the merchant's publishable key and the visitor's address,
//! session, device and place, so limits, checks and counters are those of any other client. Nothing else of the
//! visitor's headers is passed on. Does not repeat requests.

use std::{net::SocketAddr, str::FromStr};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    response::Response,
};
use base::TraceContext;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tower::ServiceExt;

/// Bytes of an answer at most: a list of a hundred products is a tenth of it.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Headers of the visitor that tell an address; they count as far as the proxy before this process is trusted.
const ADDRESS_HEADERS: [&str; 2] = ["x-forwarded-for", "forwarded"];
const SESSION: HeaderName = HeaderName::from_static("orderworks-session");
const DEVICE: HeaderName = HeaderName::from_static("orderworks-device");
const PLACE: HeaderName = HeaderName::from_static("orderworks-place");
const TRACE: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
const PROOF_BITS: &str = "orderworks-proof-bits";
const RETRY_AFTER: &str = "retry-after";
/// Code of the answer to an order that was not placed, as orders wait for too long.
pub(super) const ORDERS_WAIT: &str = "reduced_capacity";

/// The API, called for one visitor.
pub(super) struct PublicApi {
    api: Router,
    headers: HeaderMap,
    peer: Option<ConnectInfo<SocketAddr>>,
}

/// What the visitor's cookies hold for the API.
pub(super) struct OwnHeaders<'a> {
    pub(super) session: Option<&'a str>,
    pub(super) device: Option<&'a str>,
    /// Place in the waiting room.
    pub(super) place: Option<&'a str>,
}

/// An answer that is none of a problem.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    body: Bytes,
}

/// The problem that the API answered with.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// Stable code; empty where the answer was none of the API.
    pub(super) code: String,
    /// Pointers of the fields at fault.
    pub(super) pointers: Vec<String>,
    /// What the order would come to now, where the price has changed.
    pub(super) total_minor: Option<i64>,
    /// Zero bits of the proof of work that is asked for.
    pub(super) proof_bits: Option<u32>,
    /// Seconds after which another try is worth it.
    pub(super) retry_after: Option<u64>,
    pub(super) request_id: String,
}

#[derive(Deserialize)]
struct ProblemRead {
    code: String,
    request_id: String,
    errors: Vec<FieldRead>,
    total_minor: Option<i64>,
}

#[derive(Deserialize)]
struct FieldRead {
    pointer: String,
}

impl PublicApi {
    /// For the visitor of this request.
    pub(super) fn new(
        api: &Router,
        key: &SecretString,
        visitor: &request::Parts,
        own: &OwnHeaders<'_>,
    ) -> Self {
        let mut headers = HeaderMap::new();
        if let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {}", key.expose_secret())) {
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        let trace = visitor.extensions.get::<TraceContext>();
        for (name, value) in [
            (SESSION, own.session),
            (DEVICE, own.device),
            (PLACE, own.place),
            (TRACE, trace.map(TraceContext::parent)),
            (TRACE_STATE, trace.and_then(TraceContext::state)),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        for name in ADDRESS_HEADERS {
            for value in visitor.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let peer = visitor.extensions.get::<ConnectInfo<SocketAddr>>().copied();
        Self { api: api.clone(), headers, peer }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        self.ask(path).await?.read()
    }

    /// The answer to a read, for a page that may be there already: its body is not looked at.
    pub(super) async fn ask(&self, path: &str) -> Result<Answer, Refusal> {
        self.send(Method::GET, path, None, HeaderMap::new()).await
    }

    /// Sends a request with a JSON body, where there is one, and further headers.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        more: HeaderMap,
    ) -> Result<Answer, Refusal> {
        read(self.open(method, path, body, more).await).await
    }

    /// An answer to pass on to the browser as it is, however long.
    pub(super) async fn pass_on(&self, path: &str) -> Result<Response, Refusal> {
        let response = self.open(Method::GET, path, None, HeaderMap::new()).await;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(read(response).await.err().unwrap_or_else(Refusal::broken))
    }

    /// The same as [`PublicApi::send`] without reading the answer, for streams.
    pub(super) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        more: HeaderMap,
    ) -> Response {
        let mut request = http::Request::new(Body::from(body.map(Value::to_string).unwrap_or_default()));
        *request.method_mut() = method;
        // A path is made of checked parts; one that is none gets the answer of an unknown route.
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        request.headers_mut().extend(more);
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let Ok(response) = self.api.clone().oneshot(request).await;
        response
    }
}

async fn read(response: Response) -> Result<Answer, Refusal> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_BYTES_MAX).await.map_err(|error| {
        tracing::error!(error = %error, "answer of the API to the storefront not read");
        Refusal::broken()
    })?;
    if parts.status.is_success() {
        return Ok(Answer { headers: parts.headers, body });
    }
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Err(Refusal::of(&parts.headers, parts.status, body))
}

impl Answer {
    /// The body as the type of the operation.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // The text may hold personal data; its category does not.
            tracing::error!(category = ?error.classify(), "answer of the API and type of the storefront disagree");
            Refusal::broken()
        })
    }

    /// Bytes that stand for the content: the `ETag`, or the body of an answer without one.
    pub(super) fn validator(&self) -> &[u8] {
        self.headers.get(header::ETAG).map_or(&self.body[..], HeaderValue::as_bytes)
    }

    /// The text of a header; empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Refusal {
    fn of(headers: &HeaderMap, status: StatusCode, body: Value) -> Self {
        let proof_bits = number(headers, PROOF_BITS);
        let retry_after = number(headers, RETRY_AFTER);
        match ProblemRead::deserialize(body) {
            Ok(problem) if problem.code == "unauthorized" => {
                tracing::error!("publishable key of the storefront is not valid");
                Self { request_id: problem.request_id, ..Self::broken() }
            }
            Ok(ProblemRead { code, request_id, errors, total_minor }) => {
                let pointers = errors.into_iter().map(|error| error.pointer).collect();
                Self { status, code, pointers, total_minor, proof_bits, retry_after, request_id }
            }
            Err(_) => Self { status, proof_bits, retry_after, ..Self::broken() },
        }
    }

    /// An answer that cannot be read.
    pub(super) fn broken() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: String::new(),
            pointers: Vec::new(),
            total_minor: None,
            proof_bits: None,
            retry_after: None,
            request_id: String::new(),
        }
    }

    /// Something that is not there.
    pub(super) fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "not_found".to_owned(), ..Self::broken() }
    }

    /// Whether the API cannot answer as its store is away.
    pub(super) fn is_outage(&self) -> bool {
        self.code == "temporarily_unavailable"
    }

    /// Whether a request of the same order or cart has no answer yet.
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.code.as_str(), "idempotency_key_in_flight" | "cart_in_checkout" | "cart_busy")
    }

    /// Whether the order may have been placed nevertheless.
    pub(super) fn is_unknown(&self) -> bool {
        (self.status.is_server_error() && self.code != ORDERS_WAIT) || self.is_in_flight()
    }
}

/// A header that is a number.
fn number<T: FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
