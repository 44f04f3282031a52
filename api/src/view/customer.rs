//! Response bodies of registered customers and their sessions.

use base::Timestamp;
use serde::Serialize;
use store::{customers::Account, domain::CustomerId, order_view::OrderView, token::Token};
use utoipa::ToSchema;

use crate::profile_cache::Profile;

/// A registered customer.
#[derive(Serialize, ToSchema)]
#[schema(as = RegisteredCustomer)]
pub(crate) struct AccountView {
    /// Always `customer`.
    #[schema(example = "customer")]
    object: &'static str,
    /// Its id, `cus_…`.
    id: String,
    email: String,
    name: String,
    /// Time of registration.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// An accepted request that continues with a mail; the same for every address.
#[derive(Serialize, ToSchema)]
#[schema(as = VerificationRequested)]
pub(crate) struct RequestedView {
    /// `registration` or `password_reset`.
    #[schema(example = "registration")]
    object: &'static str,
    /// Always `verification_sent`.
    #[schema(example = "verification_sent")]
    status: &'static str,
}

impl RequestedView {
    pub(crate) const REGISTRATION: Self = Self { object: "registration", status: "verification_sent" };
    pub(crate) const PASSWORD_RESET: Self = Self { object: "password_reset", status: "verification_sent" };
}

/// A new session with its token, which is shown in this response only.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionView {
    /// Always `session`.
    #[schema(example = "session")]
    object: &'static str,
    /// Its id, `ses_…`.
    id: String,
    /// Send it as `Orderworks-Session`.
    #[schema(example = "ows_…")]
    token: String,
    /// The customer who is signed in.
    customer: AccountView,
    /// When the session ends unless it is used before.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<&Account> for AccountView {
    fn from(account: &Account) -> Self {
        let Account { id, customer, created_at, .. } = account;
        let (email, name) = (customer.email.clone(), customer.name.clone());
        Self { object: "customer", id: id.to_string(), email, name, created_at: *created_at }
    }
}

impl AccountView {
    /// The customer with this id, by its cached profile.
    pub(crate) fn of_profile(id: CustomerId, profile: Profile) -> Self {
        let Profile { email, name, created_at } = profile;
        Self { object: "customer", id: id.to_string(), email, name, created_at }
    }
}

impl SessionView {
    pub(crate) fn new(id: String, token: &Token, expires_at: Timestamp, account: &Account) -> Self {
        let token = token.expose().to_owned();
        Self { object: "session", id, token, customer: account.into(), expires_at }
    }
}

/// A live session of a customer.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveSession)]
pub(crate) struct LiveSessionView {
    /// Always `session`.
    #[schema(example = "session")]
    pub(crate) object: &'static str,
    /// Its id, `ses_…`.
    pub(crate) id: String,
    /// Whether it is the session of this request.
    pub(crate) current: bool,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) opened_at: Timestamp,
    /// Last use, accurate to an hour.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) used_at: Timestamp,
    /// When the session ends unless it is used before.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Timestamp,
}

/// What is stored of a customer.
#[derive(Serialize, ToSchema)]
#[schema(as = CustomerExport)]
pub(crate) struct CustomerExportView {
    /// Always `customer_export`.
    #[schema(example = "customer_export")]
    object: &'static str,
    /// The account.
    customer: AccountView,
    /// The live sessions, the oldest first.
    sessions: Vec<LiveSessionView>,
    /// The latest orders placed in sessions of the account, newest first, 100 at most.
    orders: Vec<OrderView>,
    /// Whether there are older orders.
    has_more_orders: bool,
}

impl CustomerExportView {
    pub(crate) fn new(
        customer: AccountView,
        sessions: Vec<LiveSessionView>,
        orders: Vec<OrderView>,
        has_more_orders: bool,
    ) -> Self {
        Self { object: "customer_export", customer, sessions, orders, has_more_orders }
    }
}

/// The live sessions of a customer.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveSessionList)]
pub(crate) struct LiveSessionsView {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    /// The oldest first.
    data: Vec<LiveSessionView>,
}

impl LiveSessionsView {
    pub(crate) fn new(data: Vec<LiveSessionView>) -> Self {
        Self { object: "list", data }
    }
}
