//! Signing in and out, and the list of a customer's sessions.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::AnyKey,
    input::{Body, PathText, Request},
    limits::PasswordCaller,
    problem::{Kind, Problem},
    sessions,
    state::ApiState,
    view::{LiveSessionsView, SessionView},
};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(sign_in, list, end_all))
        .routes(routes!(sign_out))
        .routes(routes!(end))
}

/// Credentials of a customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SessionCreate {
    #[schema(format = "email", max_length = 254, example = "ada@example.com")]
    email: String,
    #[schema(format = "password", write_only, min_length = 1, max_length = 128)]
    password: String,
}

impl Request for SessionCreate {}

/// Sign a customer in
///
/// The answer to a wrong password and to an unknown address is the same.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "customers", request_body = SessionCreate,
    responses(
        (status = 201, description = "Signed in; the token is shown this once", body = SessionView),
        (status = 401, description = "No account with this address and password"),
        (status = 429, description = "Too many requests from this address, or of it for this account"),
    ),
)]
async fn sign_in(
    State(state): State<ApiState>,
    PasswordCaller(key, address): PasswordCaller,
    body: Body<SessionCreate>,
) -> Result<(StatusCode, Json<SessionView>), Problem> {
    let SessionCreate { email, password } = body.value;
    state.limiters.take_sign_in(key.merchant, &email, address).await?;
    let account = state.orders.customer_by_email(key.merchant, &email).await?;
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let is_right = state.passwords.verify(password, hash).await?;
    let Some(account) = account.filter(|_| is_right) else {
        return Err(sessions::unauthorized(Kind::CREDENTIALS, "check both and try again"));
    };
    state.limiters.signed_in(key.merchant, &email, address).await;
    let opened = sessions::open(&state, &account).await?;
    // While the password was checked it may have been changed, and all sessions ended.
    let now = state.orders.customer_by_email(key.merchant, &email).await?;
    if !now.is_some_and(|now| now.password_hash == account.password_hash) {
        sessions::revoke(&state, &account, &opened).await?;
        return Err(sessions::unauthorized(Kind::CREDENTIALS, "check both and try again"));
    }
    Ok((StatusCode::CREATED, Json(SessionView::new(opened.id, &opened.token, opened.expires_at, &account))))
}

/// Sign out
///
/// Ends the session of `Orderworks-Session`. Repeating the request changes nothing.
#[utoipa::path(
    delete, path = "/v1/sessions/current", tag = "customers",
    params(("Orderworks-Session" = String, Header, description = "`ows_…`")),
    responses((status = 204, description = "The session has ended")),
)]
async fn sign_out(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    sessions::close(&state, key.merchant, &headers).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the customer's sessions
///
/// The live sessions of the customer who is signed in, the oldest first. Tokens are not shown.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "customers",
    params(("Orderworks-Session" = String, Header, description = "`ows_…`")),
    responses(
        (status = 200, description = "The sessions", body = LiveSessionsView),
        (status = 401, description = "The session has ended"),
    ),
)]
async fn list(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    headers: HeaderMap,
) -> Result<Json<LiveSessionsView>, Problem> {
    let current = sessions::current(&state, key.merchant, &headers).await?;
    Ok(Json(LiveSessionsView::new(sessions::list(&state, &current).await?)))
}

/// End a session
///
/// Ends one of the customer's sessions, such as one on another device.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "customers",
    params(
        ("id" = String, Path, description = "`ses_…`"),
        ("Orderworks-Session" = String, Header, description = "`ows_…`"),
    ),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 401, description = "The session of the request has ended"),
        (status = 404, description = "The customer has no such session"),
    ),
)]
async fn end(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    PathText(id): PathText,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let current = sessions::current(&state, key.merchant, &headers).await?;
    sessions::close_one(&state, current.owner, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all sessions
///
/// Ends all sessions of the customer who is signed in, including the session of this request.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "customers",
    params(("Orderworks-Session" = String, Header, description = "`ows_…`")),
    responses(
        (status = 204, description = "All have ended"),
        (status = 401, description = "The session has ended"),
    ),
)]
async fn end_all(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let current = sessions::current(&state, key.merchant, &headers).await?;
    sessions::close_all(&state, current.owner).await?;
    Ok(StatusCode::NO_CONTENT)
}
