//! Registration of customers, verification of their addresses, reading and deletion of accounts.
//!
//! Guarantees: a registration gets the same response whether the address has an account or not, and opens nothing until
//! the token that was mailed to the address comes back together with the password. A token alone, which a mail program
//! or a stranger's registration may bring to the owner of the address, opens no account with a stranger's password.

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base::TraceContext;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use store::{
    customers::{Erased, Erasure},
    domain::{CustomerId, OrderStatus, PageRequest, VerificationId},
    orders::OrderFilter,
    token::{Token, TokenKind},
    verifications::{NewVerification, OpenAccount, Purpose, Verification, VerificationRequested},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::orders::place::{REPLAYED, key_reused};
use crate::{
    auth::AnyKey,
    carts::CartRef,
    customer_cart,
    input::{Body, Report, Request, idempotency_key, scoped_key},
    limits::PasswordCaller,
    password_rule,
    problem::{Kind, Problem},
    sessions::{self, Owner},
    state::ApiState,
    view::{AccountView, RequestedView},
};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(verify)).routes(routes!(current, delete))
}

/// A new customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CustomerCreate {
    /// One account per address, letter case ignored.
    #[schema(format = "email", max_length = 254, example = "ada@example.com")]
    email: String,
    #[schema(format = "line-without-link", min_length = 1, max_length = 200, example = "Ada Lovelace")]
    name: String,
    /// Any characters; no common password.
    #[schema(format = "password", write_only, min_length = 15, max_length = 128)]
    password: String,
}

impl Request for CustomerCreate {
    fn check(sent: &Value, valid: &Value, report: &Report) {
        password_rule::check(sent, valid, &["email", "name"], report);
    }
}

/// Proof of a customer's address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CustomerVerify {
    /// The token from the mail.
    #[schema(format = "verification-token", example = "owv_…")]
    token: String,
    /// The password chosen at registration.
    #[schema(format = "password", write_only, min_length = 1, max_length = 128)]
    password: String,
}

impl Request for CustomerVerify {}

/// Confirmation of a deletion.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CustomerDelete {
    /// The account's password.
    #[schema(format = "password", write_only, min_length = 1, max_length = 128)]
    password: String,
    /// `true` erases the customer's data in the orders of the account, too; amounts and lines stay.
    erase_orders: Option<bool>,
}

impl Request for CustomerDelete {}

/// Register a customer
///
/// Mails a token to the address; the account opens when the token comes back (`POST /v1/customers/verify`). The
/// response is the same for an address that already has an account; its owner is informed by mail. Repeating the
/// request with the same `Idempotency-Key` changes nothing.
#[utoipa::path(
    post, path = "/v1/customers", tag = "customers",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, bare or quoted")),
    request_body = CustomerCreate,
    responses(
        (status = 202, description = "A mail is on its way", body = RequestedView, headers(
            ("Idempotent-Replayed" = String, description = "`true` on a repetition"),
        )),
        (status = 429, description = "Too many requests"),
    ),
)]
async fn register(
    State(state): State<ApiState>,
    PasswordCaller(key, address): PasswordCaller,
    Extension(trace): Extension<TraceContext>,
    headers: HeaderMap,
    body: Body<CustomerCreate>,
) -> Result<Response, Problem> {
    let idempotency_key = idempotency_key(&headers)?.map(|text| scoped_key(key.scope, text));
    let CustomerCreate { email, name, password } = body.value;
    state.limiters.take_sign_in(key.merchant, &email, address).await?;
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
    let accepted = (StatusCode::ACCEPTED, Json(RequestedView::REGISTRATION));
    match state.orders.request_verification(new).await? {
        VerificationRequested::Stored => Ok(accepted.into_response()),
        VerificationRequested::Repeated => Ok(([(REPLAYED, "true")], accepted).into_response()),
        VerificationRequested::KeyReused => Err(key_reused()),
    }
}

/// Prove an address
///
/// Opens the account of a registration with the token from its mail and its password; sends `customer.registered`. An
/// unknown, used or expired token and a wrong password get the same response.
#[utoipa::path(
    post, path = "/v1/customers/verify", tag = "customers", request_body = CustomerVerify,
    responses(
        (status = 201, description = "The account is open", body = AccountView),
        (status = 422, description = "No registration waits with this token and password"),
        (status = 429, description = "Too many requests"),
    ),
)]
async fn verify(
    State(state): State<ApiState>,
    PasswordCaller(key, _): PasswordCaller,
    Extension(trace): Extension<TraceContext>,
    body: Body<CustomerVerify>,
) -> Result<(StatusCode, Json<AccountView>), Problem> {
    let CustomerVerify { token, password } = body.value;
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

/// Read the account of the customer who is signed in
#[utoipa::path(
    get, path = "/v1/customers/current", tag = "customers",
    params(("Orderworks-Session" = String, Header, description = "`ows_…`")),
    responses(
        (status = 200, description = "The customer", body = AccountView),
        (status = 401, description = "The session has ended"),
    ),
)]
async fn current(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    headers: HeaderMap,
) -> Result<Json<AccountView>, Problem> {
    let owner = sessions::current(&state, key.merchant, &headers).await?.owner;
    Ok(Json(AccountView::of_profile(owner.customer, sessions::profile(&state, owner).await?)))
}

/// Delete an account
///
/// Erases the account of the customer who is signed in and its cart, and ends all its sessions. Orders stay: they are
/// the merchant's records. With `erase_orders` they lose name, addresses and reference, once all of them have ended.
#[utoipa::path(
    delete, path = "/v1/customers/current", tag = "customers", request_body = CustomerDelete,
    params(("Orderworks-Session" = String, Header, description = "`ows_…`")),
    responses(
        (status = 204, description = "The account is gone"),
        (status = 401, description = "No session, or the password is another"),
        (status = 409, description = "Orders are to be erased, and some are pending or paid"),
        (status = 429, description = "Too many requests from this address, or of it for this account"),
    ),
)]
async fn delete(
    State(state): State<ApiState>,
    PasswordCaller(key, address): PasswordCaller,
    headers: HeaderMap,
    body: Body<CustomerDelete>,
) -> Result<StatusCode, Problem> {
    let owner = sessions::current(&state, key.merchant, &headers).await?.owner;
    let account = sessions::account(&state, owner).await?;
    state.limiters.take_sign_in(key.merchant, &account.customer.email, address).await?;
    if !state.passwords.verify(body.value.password, Some(account.password_hash)).await? {
        return Err(sessions::unauthorized(Kind::CREDENTIALS, "check the password and try again"));
    }
    let erases = body.value.erase_orders.unwrap_or(false);
    if erases {
        expect_no_open_orders(&state, owner).await?;
    }
    // Before the account, so that a failure here can be retried.
    sessions::close_all(&state, owner).await?;
    let caller = CartRef::of_owner(&state, &key, owner);
    customer_cart::delete(&caller, owner).await?;
    let deleted = if erases {
        erase(&state, owner).await
    } else {
        state.orders.delete_account(key.merchant, owner.customer).await.map(drop).map_err(Problem::from)
    };
    // Whether it succeeded or not: a write without an answer may have taken effect.
    state.profiles.changed(owner.merchant, owner.customer).await;
    deleted.map(|()| StatusCode::NO_CONTENT)
}

/// Looked at before anything is ended; the store decides.
async fn expect_no_open_orders(state: &ApiState, owner: Owner) -> Result<(), Problem> {
    for status in [OrderStatus::Pending, OrderStatus::Paid] {
        let filter = OrderFilter { status: Some(status), customer: Some(owner.customer) };
        let page = PageRequest { limit: 1, after: None };
        if !state.orders.orders(owner.merchant, filter, page).await?.items.is_empty() {
            return Err(orders_open());
        }
    }
    Ok(())
}

async fn erase(state: &ApiState, owner: Owner) -> Result<(), Problem> {
    loop {
        let (Owner { merchant, customer }, requested_by) = (owner, "customer".to_owned());
        let erasure = Erasure { merchant, customer, requested_by, at: state.ambient.now() };
        match state.orders.erase_customer(erasure).await? {
            Erased::Done { has_more: true, .. } => {}
            Erased::Done { has_more: false, .. } | Erased::NotFound => return Ok(()),
            Erased::OrdersOpen { .. } => return Err(orders_open()),
        }
    }
}

fn orders_open() -> Problem {
    Problem::new(Kind::ORDERS_OPEN, "orders that are pending or paid need the customer's data until they end")
}

/// The single response to every token that is not valid.
pub(super) fn token_invalid() -> Problem {
    Problem::new(Kind::TOKEN_INVALID, "a token works once and not for long: ask for another mail")
}
