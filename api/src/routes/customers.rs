//! Registering customers.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use store::{
    customers::{Account, NewAccount, Registration},
    domain::{Customer, CustomerId},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::orders::{
    place::{REPLAYED, key_reused},
    request::{NAME_CHARS_MAX, email},
};
use crate::{
    edge::Trace,
    input::{Body, FromBody, Node, idempotency_key},
    limits::PasswordCaller,
    password_rule,
    problem::{FieldError, Kind, Problem, ProblemBody},
    state::ApiState,
    view::AccountView,
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(register))
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

/// Register a customer
///
/// Tells `customer.registered` and sends a welcome mail. Repeating it with the same `Idempotency-Key` changes nothing.
#[utoipa::path(
    post, path = "/v1/customers", tag = "customers",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, bare or quoted")),
    request_body = RegisterRequest,
    responses(
        (status = 201, description = "Registered", body = AccountView, headers(
            ("Idempotent-Replayed" = String, description = "`true` on a repetition"),
        )),
        (status = 409, description = "The address has an account", body = ProblemBody,
            content_type = "application/problem+json"),
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
    let idempotency_key = idempotency_key(&headers)?;
    let RegisterRequest { email, name, password } = body.value;
    let account = Account {
        id: CustomerId::fresh(&state.ambient),
        merchant: key.merchant,
        customer: Customer { email, name },
        password_hash: state.passwords.hash(password.clone()).await?,
        created_at: state.ambient.now(),
    };
    let new = NewAccount { account: account.clone(), idempotency_key, trace: Some(trace) };
    match state.orders.register(new).await? {
        Registration::Registered => Ok(created(&account)),
        Registration::KeyUsed(known) => replay(&state, *known, account.customer, password).await,
        Registration::EmailTaken => {
            let error = FieldError::new("/email", "email_taken", "sign in instead");
            Err(Problem::new(Kind::EMAIL_TAKEN, "nothing was changed").with_errors(vec![error]))
        }
    }
}

/// The answer to a request under a known key: that of then, if all of it is the same.
async fn replay(
    state: &ApiState,
    known: Account,
    asked: Customer,
    password: String,
) -> Result<Response, Problem> {
    let is_same = known.customer == asked
        && state.passwords.verify(password, Some(known.password_hash.clone())).await?;
    if !is_same {
        return Err(key_reused());
    }
    let mut response = created(&known);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn created(account: &Account) -> Response {
    (StatusCode::CREATED, Json(AccountView::from(account))).into_response()
}
