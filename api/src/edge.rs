//! Outermost layer: request id, trace, access log, deadline, and rendering of problems.
//!
//! Guarantees: every response carries `X-Request-Id`; every problem is `application/problem+json` with the same id; the
//! request span holds id, trace and path template (never the path, query, headers or body). Logs one line per request.
//! Where spans are recorded, the request's continues the trace of its caller, and what follows continues the request's;
//! the response tells layers around this one of it, by [`RecordedTrace`].

use std::any::Any;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base::{Ambient, TraceContext, spans, time::between};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tracing::{Instrument, Span, field::Empty, info_span};

use crate::{
    cors::CorsHeaders,
    problem::{Kind, Problem},
    state::ApiState,
};

const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_CHARS_MAX: usize = 128;
/// Routes that balancers ask every few seconds.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// The trace of a request, in the extensions of its response where the span of the request is recorded.
#[derive(Debug, Clone)]
pub struct RecordedTrace(pub TraceContext);

/// Runs a request inside its span and completes the response. Handlers find its [`TraceContext`] in the extensions.
pub(crate) async fn serve(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let begun_at = state.ambient.now();
    let request_id = request_id(request.headers(), &state.ambient);
    let recorded = recorded_span(&request);
    let traced = spans::begin(&recorded, caller(request.headers()).as_ref());
    let span_id = traced.span_id().map(str::to_owned);
    let recorded_trace = traced.recorded().cloned().map(RecordedTrace);
    let trace = traced.trace.unwrap_or_else(|| TraceContext::fresh(&state.ambient));
    let span = info_span!(
        "http_request",
        http.method = method_label(request.method()),
        http.route = route(&request),
        request.id = %request_id,
        trace.id = %trace.trace_id(),
        span.id = span_id,
    );
    request.extensions_mut().insert(trace);
    let cors = CorsHeaders::of(&request, &state.config.cors_origins);
    async {
        let answer = tokio::time::timeout(state.config.request_timeout, next.run(request)).await;
        let timeout =
            || Problem::new(Kind::TIMEOUT, "the outcome is unknown; a repeated request does no harm");
        let response = answer.unwrap_or_else(|_| timeout().into_response());
        let mut response = finish(response, &request_id);
        cors.add_to(response.headers_mut());
        if state.shutdown.is_cancelled() {
            // A balancer that reuses the connection would lose a request when the server closes it.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let taken = between(begun_at, state.ambient.now());
        let duration_ms = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(http.status = response.status().as_u16(), duration_ms, "request answered");
        record_status(&recorded, response.status());
        if let Some(trace) = recorded_trace {
            response.extensions_mut().insert(trace);
        }
        response
    }
    .instrument(span)
    .instrument(recorded.clone())
    .await
}

/// The span that is recorded of a request; none of the probes of balancers, which would be most of all traces.
fn recorded_span(request: &Request) -> Span {
    let (method, route) = (method_label(request.method()), route(request));
    if PROBES.contains(&route) {
        return Span::none();
    }
    info_span!(
        target: spans::TARGET,
        parent: None,
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "http.request.method" = method,
        "http.route" = route,
        "http.response.status_code" = Empty,
    )
}

fn record_status(recorded: &Span, status: StatusCode) {
    recorded.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        spans::fail(recorded, status.as_str());
    }
}

/// The path template of a request.
fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str)
}

/// Response of a panicking handler. The panic hook reports the panic itself.
pub(crate) fn on_panic(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("request handler panicked");
    Problem::logged().into_response()
}

pub(crate) async fn route_not_found() -> Problem {
    Problem::new(Kind::ROUTE_NOT_FOUND, "see /openapi.json for the routes there are")
}

/// Response for methods that a route does not have; axum adds `Allow`. `OPTIONS` gets 204; whether a browser of another
/// origin may go on is told by [`CorsHeaders`].
pub(crate) async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Kind::METHOD_NOT_ALLOWED, "see the `Allow` header").into_response()
}

fn finish(mut response: Response, request_id: &str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let body = problem.body(request_id);
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = body.into();
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Responses hold names and addresses: no intermediary may store them.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The caller's own id, if it is safe to log, or a new one.
fn request_id(headers: &HeaderMap, ambient: &Ambient) -> String {
    let usable = |id: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(usable);
    given.map_or_else(|| format!("req_{}", ambient.shown_uuid().simple()), str::to_owned)
}

/// The caller's trace as it is; `None` where there is none, or more than one.
fn caller(headers: &HeaderMap) -> Option<TraceContext> {
    let values =
        |name: &'static str| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    let mut given = values("traceparent");
    match (given.next().map(|text| text.trim().parse::<TraceContext>()), given.next()) {
        (Some(Ok(caller)), None) => Some(caller.with_state(values("tracestate"))),
        _ => None,
    }
}

/// Label of a method. Methods are free text, and a log field should have few values.
fn method_label(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("(other)")
}
