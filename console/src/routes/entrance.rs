//! Addresses without a view: signing in and out, the search, style sheet and script.

use axum::{
    Form, Router,
    extract::{
        Path, Query, State,
        rejection::{FormRejection, QueryRejection},
    },
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, header};
use jobs::JobId;
use serde::Deserialize;
use store::domain::OrderId;

use crate::{
    access::{Bearer, SESSION_VALID_FOR},
    answer::{Asked, parameters, set},
    cells::{path, with_query},
    edge::{cookie_name, session},
    error::ConsoleError,
    page::{self, Field, Page},
    render::{Frame, STYLESHEET, html},
    state::{Console, ConsoleState},
};

const STYLES: &str = include_str!("../../assets/console.css");
const SCRIPT: &str = include_str!("../../assets/console.js");

pub(crate) fn entrance() -> Router<Console> {
    Router::new()
        .route("/sign-in", get(sign_in_page).post(sign_in))
        .route("/sign-in/{code}", get(sign_in_once))
        .route("/sign-out", post(sign_out))
        .route("/search", get(search))
        .route("/assets/console.css", get(async || asset("text/css; charset=utf-8", STYLES)))
        .route("/assets/console.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
}

#[derive(Deserialize)]
struct SignIn {
    token: String,
}

#[derive(Deserialize)]
struct Search {
    q: Option<String>,
}

async fn sign_in_page() -> Result<Response, ConsoleError> {
    entrance_page("")
}

async fn sign_in(
    State(Console(console)): State<Console>,
    headers: HeaderMap,
    form: Result<Form<SignIn>, FormRejection>,
) -> Result<Response, ConsoleError> {
    let Form(SignIn { token }) = form.map_err(|rejection| ConsoleError::Input(rejection.body_text()))?;
    let Some(bearer) = console.access.by_token(token.trim()) else {
        tracing::warn!("console sign-in refused");
        return entrance_page("There is no such token.");
    };
    Ok(signed_in(&console, &headers, bearer, "/"))
}

/// The link that `orderworks dev` prints. A second visit with a session goes on to the overview.
async fn sign_in_once(
    State(Console(console)): State<Console>,
    Path(code): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ConsoleError> {
    let live = "/?live=on";
    if let Some(bearer) = console.access.redeem(&code) {
        return Ok(signed_in(&console, &headers, bearer, live));
    }
    let known = session(&console, &headers).and_then(|session| console.access.by_session(session));
    match known {
        Some(_) => Ok(Redirect::to(live).into_response()),
        None => entrance_page("This link was used or has expired; a restart prints another one."),
    }
}

async fn sign_out(State(Console(console)): State<Console>, headers: HeaderMap) -> Response {
    if let Some(session) = session(&console, &headers) {
        console.access.close_session(session);
    }
    with_cookie(Redirect::to("/sign-in").into_response(), &cookie(&console, "", 0))
}

/// Leads an id to its page, and any other text to the jobs that have it.
async fn search(_: Asked, query: Result<Query<Search>, QueryRejection>) -> Result<Redirect, ConsoleError> {
    let text = set(parameters(query)?.q.as_deref()).unwrap_or_default();
    let folder = if text.parse::<JobId>().is_ok() {
        "/jobs"
    } else if text.parse::<OrderId>().is_ok() {
        "/orders"
    } else {
        return Ok(Redirect::to(&with_query("/jobs", &[("q", text.as_str())])));
    };
    Ok(Redirect::to(&path(folder, &text)))
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        // Its address has the version of the program.
        (header::CACHE_CONTROL, "public, max-age=86400"),
    ];
    (headers, text).into_response()
}

fn entrance_page(trouble: &str) -> Result<Response, ConsoleError> {
    let mut page = Page::new("Sign in");
    if !trouble.is_empty() {
        page.note("bad", trouble);
    }
    page.push(page::Form {
        legend: "Token of the setting console.tokens".to_owned(),
        method: "post",
        action: "/sign-in".to_owned(),
        hidden: Vec::new(),
        fields: vec![Field {
            name: "token",
            label: "Token",
            value: String::new(),
            kind: "password",
            is_required: true,
        }],
        button: "Sign in".to_owned(),
        is_dangerous: false,
    });
    html(&page, &Frame { stylesheet: STYLESHEET, ..Frame::default() })
}

/// Begins a session. The one that the browser came with ends: others may know it.
fn signed_in(console: &ConsoleState, headers: &HeaderMap, bearer: Bearer, next: &str) -> Response {
    if let Some(former) = session(console, headers) {
        console.access.close_session(former);
    }
    tracing::info!(who = bearer.name, role = bearer.role.as_str(), "console sign-in");
    let cookie = cookie(console, &console.access.open_session(bearer), SESSION_VALID_FOR.as_secs());
    with_cookie(Redirect::to(next).into_response(), &cookie)
}

/// The session's cookie: no script reads it, and no other site makes a browser send it.
fn cookie(console: &ConsoleState, value: &str, seconds: u64) -> String {
    let https = console.config.https;
    let secure = if https { "; Secure" } else { "" };
    format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", cookie_name(https))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
