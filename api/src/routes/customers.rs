//! Registration of customers, verification of their addresses, and deletion of accounts.
//!
//! Guarantees: a registration gets the same response whether the address has an account or not, and opens nothing until
//! the token that was mailed to the address comes back together with the password. A token alone, which a mail program
//! or a stranger's registration may bring to the owner of the address, opens no account with a stranger's password.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use store::{
    domain::{CustomerId, VerificationId},
    token::{Token, TokenKind},
    verifications::{NewVerification, OpenAccount, Purpose, Verification, VerificationRequested},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::orders::{
    place::{REPLAYED, key_reused},
    request::{NAME_CHARS_MAX, email},
};
use crate::{
    edge::Trace,
    input::{Body, FromBody, Node, idempotency_key, scoped_key},
    limits::PasswordCaller,
    password_rule,
    problem::{Kind, Problem, ProblemBody},
    sessions,
    state::ApiState,
    view::{AccountView, RequestedView},
};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(verify)).routes(routes!(delete))
}

/// A new customer.
#[derive(ToSchema)]
#[schema(as = CustomerCreate)]
struct RegisterRequest {
    /// One account per address, letter case ignored.
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    email: String,
    #[schema(min_length = 1, max_length = 200, example = "Ada Lovelace")]
    name: String,
    /// Any characters; no common password.
    #[schema(format = Password, write_only, min_length = 15, max_length = 128)]
    password: String,
}

impl FromBody for RegisterRequest {
    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&["email", "name", "password"])?;
        let email = email(&body.field("email"));
        let name = body.field("name").line(NAME_CHARS_MAX);
        let own_words = [body.field("email").text_or_empty(), body.field("name").text_or_empty()];
        let password = password_rule::new(&body.field("password"), &own_words);
        Some(Self { email: email?, name: name?, password: password? })
    }
}

/// Proof of a customer's address.
#[derive(ToSchema)]
#[schema(as = CustomerVerify)]
struct VerifyRequest {
    /// The token from the mail.
    #[schema(pattern = "^owv_([0-9A-Za-z_-]{43}|[0-9a-f]{64})$", example = "owv_…")]
    token: String,
    /// The password chosen at registration.
    #[schema(format = Password, write_only, min_length = 1, max_length = 128)]
    password: String,
}

impl FromBody for VerifyRequest {
    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&["token", "password"])?;
        let (token, password) = (body.field("token").string(), password_rule::known(&body.field("password")));
        Some(Self { token: token?.to_owned(), password: password? })
    }
}

/// Confirmation of a deletion.
#[derive(ToSchema)]
#[schema(as = CustomerDelete)]
struct DeleteRequest {
    /// The account's password.
    #[schema(format = Password, write_only, min_length = 1, max_length = 128)]
    password: String,
}

impl FromBody for DeleteRequest {
    fn read(node: &Node<'_>) -> Option<Self> {
        let body = node.object(&["password"])?;
        Some(Self { password: password_rule::known(&body.field("password"))? })
    }
}

/// Register a customer
///
/// Mails a token to the address; the account opens when the token comes back (`POST /v1/customers/verify`). The
/// response is the same for an address that already has an account; its owner is informed by mail. Repeating the
/// request with the same `Idempotency-Key` changes nothing.
#[utoipa::path(
    post, path = "/v1/customers", tag = "customers",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, bare or quoted")),
    request_body = RegisterRequest,
    responses(
        (status = 202, description = "A mail is on its way", body = RequestedView, headers(
            ("Idempotent-Replayed" = String, description = "`true` on a repetition"),
        )),
        (status = 429, description = "Too many requests", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn register(
    State(state): State<ApiState>,
    PasswordCaller(key): PasswordCaller,
    Trace(trace): Trace,
    headers: HeaderMap,
    body: Body<RegisterRequest>,
) -> Result<Response, Problem> {
    let idempotency_key = idempotency_key(&headers)?.map(|text| scoped_key(key.scope, text));
    let RegisterRequest { email, name, password } = body.value;
    state.limiters.take_sign_in(key.merchant, &email)?;
    password_rule::refuse_known(&state, key.merchant, &password, &[&email, &name]).await?;
    let password_hash = state.passwords.hash(password).await?;
    let verification = Verification {
        id: VerificationId::fresh(&state.ambient),
        merchant: key.merchant,
        email,
        purpose: Purpose::Registration { name, password_hash },
        created_at: state.ambient.now(),
    };
    let new = NewVerification { verification, idempotency_key, trace: Some(trace) };
    let requested = state.orders.request_verification(new).await?;
    let mut response = (StatusCode::ACCEPTED, Json(RequestedView::registration())).into_response();
    match requested {
        VerificationRequested::Stored => {}
        VerificationRequested::Repeated => {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        VerificationRequested::KeyReused => return Err(key_reused()),
    }
    Ok(response)
}

/// Prove an address
///
/// Opens the account of a registration with the token from its mail and its password; sends `customer.registered`. An
/// unknown, used or expired token and a wrong password get the same response.
#[utoipa::path(
    post, path = "/v1/customers/verify", tag = "customers", request_body = VerifyRequest,
    responses(
        (status = 201, description = "The account is open", body = AccountView),
        (status = 422, description = "No registration waits with this token and password", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn verify(
    State(state): State<ApiState>,
    PasswordCaller(key): PasswordCaller,
    Trace(trace): Trace,
    body: Body<VerifyRequest>,
) -> Result<(StatusCode, Json<AccountView>), Problem> {
    let VerifyRequest { token, password } = body.value;
    let token = Token::parse(TokenKind::Verification, &token).ok_or_else(token_invalid)?.hash();
    let found = state.orders.verification_by_token(key.merchant, token, state.ambient.now()).await?;
    let Some(Verification { purpose: Purpose::Registration { password_hash, .. }, .. }) = found else {
        return Err(token_invalid());
    };
    if !state.passwords.verify(password, Some(password_hash)).await? {
        return Err(token_invalid());
    }
    let (customer, at) = (CustomerId::fresh(&state.ambient), state.ambient.now());
    let open = OpenAccount { merchant: key.merchant, token, customer, at, trace: Some(trace) };
    let account = state.orders.open_account(open).await?.ok_or_else(token_invalid)?;
    Ok((StatusCode::CREATED, Json(AccountView::from(&account))))
}

/// Delete an account
///
/// Erases the account of the customer who is signed in and ends all its sessions. Orders stay: they are the merchant's
/// records.
#[utoipa::path(
    delete, path = "/v1/customers/current", tag = "customers", request_body = DeleteRequest,
    params(("Orderworks-Session" = String, Header, description = "`ows_…`")),
    responses(
        (status = 204, description = "The account is gone"),
        (status = 401, description = "No session, or the password is another", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = 429, description = "Too many requests from this address or for this account", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn delete(
    State(state): State<ApiState>,
    PasswordCaller(key): PasswordCaller,
    headers: HeaderMap,
    body: Body<DeleteRequest>,
) -> Result<StatusCode, Problem> {
    let customer = sessions::customer(&state, key.merchant, &headers).await?.ok_or_else(|| {
        sessions::unauthorized(Kind::SESSION, "send the session's token as `Orderworks-Session`")
    })?;
    let account = sessions::account(&state, key.merchant, customer).await?;
    state.limiters.take_sign_in(key.merchant, &account.customer.email)?;
    if !state.passwords.verify(body.value.password, Some(account.password_hash)).await? {
        return Err(sessions::unauthorized(Kind::CREDENTIALS, "check the password and try again"));
    }
    // Before the account, so that a failure here can be retried.
    sessions::close_all(&state, key.merchant, customer).await?;
    state.orders.delete_account(key.merchant, customer).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The single response to every token that is not valid.
pub(super) fn token_invalid() -> Problem {
    Problem::new(Kind::TOKEN_INVALID, "a token works once and not for long: ask for another mail")
}
