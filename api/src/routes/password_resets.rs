//! Password resets.
//!
//! Guarantees: the response to a request is the same whether the address has an account or not; a token works once, for
//! an hour, and only the newest of an account; afterwards all sessions of the account have ended.

use axum::{Extension, Json, extract::State};
use base::TraceContext;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use store::{
    domain::VerificationId,
    token::{Token, TokenKind},
    verifications::{NewVerification, Purpose, Verification},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::customers::token_invalid;
use crate::{
    input::{Body, Report, Request},
    limits::PasswordCaller,
    password_rule,
    problem::Problem,
    sessions::{self, Owner},
    state::ApiState,
    view::RequestedView,
};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(request)).routes(routes!(confirm))
}

/// The account whose password was forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordResetCreate {
    #[schema(format = "email", max_length = 254, example = "ada@example.com")]
    email: String,
}

impl Request for PasswordResetCreate {}

/// A new password, with the proof of access to the account's address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordResetConfirm {
    /// The token from the mail.
    #[schema(format = "verification-token", example = "owv_…")]
    token: String,
    /// Any characters; no common password.
    #[schema(format = "password", write_only, min_length = 15, max_length = 128)]
    password: String,
}

impl Request for PasswordResetConfirm {
    fn check(sent: &Value, valid: &Value, report: &Report) {
        password_rule::check(sent, valid, &[], report);
    }
}

/// Request a password reset
///
/// Mails a token to the address if it has an account; the response is the same if not.
#[utoipa::path(
    post, path = "/v1/customers/password_reset", tag = "customers", request_body = PasswordResetCreate,
    responses(
        (status = 202, description = "A mail is on its way, if there is an account", body = RequestedView),
        (status = 429, description = "Too many requests from this address, or of it for this account"),
    ),
)]
async fn request(
    State(state): State<ApiState>,
    PasswordCaller(key, address): PasswordCaller,
    Extension(trace): Extension<TraceContext>,
    body: Body<PasswordResetCreate>,
) -> Result<(StatusCode, Json<RequestedView>), Problem> {
    let email = body.value.email;
    state.limiters.take_sign_in(key.merchant, &email, address).await?;
    let verification = Verification {
        id: VerificationId::fresh(&state.ambient),
        merchant: key.merchant,
        email,
        purpose: Purpose::PasswordReset,
        created_at: state.ambient.now(),
    };
    let new = NewVerification { verification, idempotency_key: None, trace: Some(trace) };
    state.orders.request_verification(new).await?;
    Ok((StatusCode::ACCEPTED, Json(RequestedView::PASSWORD_RESET)))
}

/// Set a new password
///
/// Takes the token from the mail. All sessions of the account end.
#[utoipa::path(
    post, path = "/v1/customers/password_reset/confirm", tag = "customers", request_body = PasswordResetConfirm,
    responses(
        (status = 204, description = "The password is set, all sessions have ended"),
        (status = 422, description = "No reset waits with this token"),
        (status = 429, description = "Too many requests"),
    ),
)]
async fn confirm(
    State(state): State<ApiState>,
    PasswordCaller(key, _): PasswordCaller,
    body: Body<PasswordResetConfirm>,
) -> Result<StatusCode, Problem> {
    let PasswordResetConfirm { token, password } = body.value;
    let token = Token::parse(TokenKind::Verification, &token).ok_or_else(token_invalid)?.hash();
    let now = state.ambient.now();
    let found = state.orders.verification_by_token(key.merchant, token, now).await?;
    let found = found.filter(|found| found.purpose.is_reset()).ok_or_else(token_invalid)?;
    password_rule::refuse_known(&state, key.merchant, &password, &[&found.email]).await?;
    let hash = state.passwords.hash(password).await?;
    // Once before the change, so that the token is still valid if the session store fails, and once after it, for
    // sessions opened with the old password meanwhile.
    if let Some(account) = state.orders.customer_by_email(key.merchant, &found.email).await? {
        sessions::close_all(&state, Owner::of(&account)).await?;
    }
    let reset = state.orders.reset_password(key.merchant, token, hash, state.ambient.now()).await?;
    let owner = Owner { merchant: key.merchant, customer: reset.ok_or_else(token_invalid)? };
    sessions::close_all(&state, owner).await?;
    Ok(StatusCode::NO_CONTENT)
}
