//! Outermost layer: who asks, where a form comes from, how long an answer may take, and what each answer carries.
//!
//! Guarantees: no page without a session or a token. A request that changes something comes from a page of this console
//! (`Sec-Fetch-Site: same-origin`, or the `Origin` of this host where a browser is too old for it), or from a program
//! that sends a token itself. Every answer forbids other hosts, frames and caches, and scripts, but for the console's
//! own on pages that renew themselves. Logs one line a request, never query, cookie or body.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use base::{form_origin::FormOrigin, time::between};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{
    access::Bearer,
    answer::{Visitor, frame},
    error::{ConsoleError, Problem},
    page::Page,
    render::{Frame, STYLESHEET, html},
    state::{Console, ConsoleState},
};

/// Longest wait for an answer; each statement of a database is bounded by itself.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Path below which answers are JSON.
const JSON_PATH: &str = "/api/";
/// Paths that need no visitor.
const OPEN_PATHS: [&str; 2] = ["/sign-in", "/assets"];
/// Headers of every answer.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; \
         base-uri 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // With `no-referrer` browsers would send a form with `Origin: null`.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Lets a request in or not, and completes its answer.
pub(crate) async fn serve(
    State(Console(console)): State<Console>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun_at = console.now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let visitor = visitor(&console, request.headers());
    let admitted = admit(&request, visitor.as_ref());
    if let Some(visitor) = &visitor {
        request.extensions_mut().insert(visitor.clone());
    }
    let response = match admitted {
        Ok(()) => {
            let answer = tokio::time::timeout(ANSWER_MAX, next.run(request)).await;
            answer.unwrap_or_else(|_| ConsoleError::TooSlow.into_response())
        }
        Err(ConsoleError::SignIn) if method == Method::GET && !path.starts_with(JSON_PATH) => {
            Redirect::to("/sign-in").into_response()
        }
        Err(error) => error.into_response(),
    };
    let response = finish(response, &path, visitor.as_ref());
    let (who, status) = (visitor.map(|visitor| visitor.name), response.status().as_u16());
    let taken = between(begun_at, console.now());
    let duration_ms = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
    if method == Method::GET {
        tracing::debug!(http.status = status, who, duration_ms, "console request answered");
    } else {
        tracing::info!(http.status = status, http.path = path, who, duration_ms, "console request answered");
    }
    response
}

/// Answer of a panicking handler. The panic hook reports the panic itself.
pub(crate) fn on_panic(_: Box<dyn std::any::Any + Send>) -> Response {
    ConsoleError::Defect("request handler panicked".to_owned()).into_response()
}

pub(crate) async fn not_found() -> ConsoleError {
    ConsoleError::NotFound("there is no such page".to_owned())
}

pub(crate) async fn method_not_allowed() -> Response {
    let detail = "this address takes another method".to_owned();
    let problem = Problem { status: StatusCode::METHOD_NOT_ALLOWED, title: "Method not allowed", detail };
    let mut response = problem.status.into_response();
    response.extensions_mut().insert(problem);
    response
}

/// Name of the session's cookie. With the prefix, browsers take it over https and from this host only.
pub(crate) fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-orderworks_console" } else { "orderworks_console" }
}

/// Value of the session's cookie.
pub(crate) fn session<'a>(console: &ConsoleState, headers: &'a HeaderMap) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
    let name = cookie_name(console.config.https);
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn visitor(console: &ConsoleState, headers: &HeaderMap) -> Option<Visitor> {
    let bearer: Option<Bearer> = match token(headers) {
        Some(token) => console.access.by_token(token),
        None => session(console, headers).and_then(|session| console.access.by_session(session)),
    };
    bearer.map(|bearer| Visitor::new(bearer, console.config.show_payloads))
}

/// The token that a program sends.
fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn admit(request: &Request, visitor: Option<&Visitor>) -> Result<(), ConsoleError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) && !is_of_this_site(request.headers()) {
        return Err(ConsoleError::OtherSite);
    }
    let path = request.uri().path();
    let is_open = OPEN_PATHS.iter().any(|open| path == *open || path.starts_with(&format!("{open}/")));
    if is_open || visitor.is_some() { Ok(()) } else { Err(ConsoleError::SignIn) }
}

/// Whether a page of this console has sent the request, or a program that no page can make send its token.
fn is_of_this_site(headers: &HeaderMap) -> bool {
    match FormOrigin::of(headers) {
        FormOrigin::Same => true,
        FormOrigin::Other => false,
        FormOrigin::Unknown => token(headers).is_some(),
    }
}

fn finish(mut response: Response, path: &str, visitor: Option<&Visitor>) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = shown(&problem, path, visitor);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        // A page that renews itself has a policy of its own.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    // Pages hold names of customers and, for some, payloads: nothing keeps them. Assets say otherwise themselves.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn shown(problem: &Problem, path: &str, visitor: Option<&Visitor>) -> Response {
    let Problem { status, title, detail } = problem;
    let mut response = if path.starts_with(JSON_PATH) {
        let body =
            json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        let media_type = [(header::CONTENT_TYPE, "application/problem+json")];
        (media_type, body.to_string()).into_response()
    } else {
        let mut page = Page::new(*title);
        page.note("bad", detail.as_str());
        let outside = || Frame { stylesheet: STYLESHEET, ..Frame::default() };
        let frame = visitor.map_or_else(outside, |visitor| frame(visitor, path));
        html(&page, &frame).unwrap_or_else(|_| detail.clone().into_response())
    };
    *response.status_mut() = *status;
    if *status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_where_no_page_has_sent_the_request() {
        let is_ours = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            is_of_this_site(&headers)
        };
        let bearer = ("authorization", "Bearer x");
        assert!(is_ours(&[bearer]) && is_ours(&[("sec-fetch-site", "same-origin")]));
        assert!(!is_ours(&[("sec-fetch-site", "cross-site"), bearer]));
        assert!(!is_ours(&[("origin", "null"), ("host", "127.0.0.1:8081"), bearer]));
        assert!(!is_ours(&[]));
    }
}
