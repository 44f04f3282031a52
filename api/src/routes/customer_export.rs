//! Export of what is stored of a customer, for the customer.

use axum::{Json, extract::State};
use http::HeaderMap;
use store::{domain::PageRequest, orders::OrderFilter};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::orders::read::views;
use crate::{
    auth::AnyKey,
    problem::Problem,
    sessions,
    state::ApiState,
    view::{AccountView, CustomerExportView},
};

/// Orders in an export at most; the list of orders has the rest.
const ORDERS_MAX: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(export))
}

/// Export what is stored of the customer who is signed in
///
/// Account, sessions, and the latest orders of the account, whole. Older orders are those of
/// `GET /v1/customers/current/orders` after the last one here.
#[utoipa::path(
    get, path = "/v1/customers/current/export", tag = "customers",
    params(("Orderworks-Session" = String, Header, description = "`ows_…`")),
    responses(
        (status = 200, description = "The stored data", body = CustomerExportView),
        (status = 401, description = "The session has ended"),
    ),
)]
async fn export(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    headers: HeaderMap,
) -> Result<Json<CustomerExportView>, Problem> {
    let current = sessions::current(&state, key.merchant, &headers).await?;
    let account = sessions::account(&state, current.owner).await?;
    let sessions = sessions::list(&state, &current).await?;
    let filter = OrderFilter { customer: Some(current.owner.customer), ..OrderFilter::default() };
    let page = PageRequest { limit: ORDERS_MAX, after: None };
    let page = state.orders.orders(key.merchant, filter, page).await?;
    let orders = views(&state, &page.items).await?;
    Ok(Json(CustomerExportView::new(AccountView::from(&account), sessions, orders, page.has_more)))
}
