//! Reading of orders.

use std::collections::HashMap;

use axum::{Json, extract::State};
use base::error_class::describe;
use http::HeaderMap;
use store::{
    domain::{CustomerId, MerchantId, Order, OrderId, PageRequest, Payment, PaymentId},
    orders::OrderFilter,
};

use crate::{
    auth::{AnyKey, SecretKey},
    input::{PathText, Query, parse_id},
    order_access,
    problem::Problem,
    sessions,
    state::ApiState,
    view::{List, OrderView, PaymentView},
};

/// Read an order
///
/// With a publishable key, personal data are shown in the session of the customer who placed the order, or with the
/// order token from the response to the order; otherwise they are `null`.
#[utoipa::path(
    get, path = "/v1/orders/{id}", tag = "orders",
    params(
        ("id" = String, Path, description = "`ord_…`"),
        ("Orderworks-Order-Token" = Option<String>, Header, description = "`owt_…`, shown when it was placed"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    responses((status = 200, description = "The order", body = OrderView)),
)]
pub(super) async fn get_order(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    PathText(id): PathText,
    headers: HeaderMap,
) -> Result<Json<OrderView>, Problem> {
    let id: OrderId = parse_id(&id, "order")?;
    let order = state.orders.order(key.merchant, id).await?.ok_or_else(|| Problem::not_found("order"))?;
    let is_whole = order_access::is_shown_whole(&state, &key, &headers, &order).await?;
    let view = view(&state, &order).await?;
    Ok(Json(if is_whole { view } else { view.without_personal_data() }))
}

/// List orders, newest first
#[utoipa::path(
    get, path = "/v1/orders", tag = "orders", security(("secret_key" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100, 10 when absent"),
        ("starting_after" = Option<String>, Query, description = "The last order of the page before"),
        ("status" = Option<String>, Query, description = "Only orders in this state"),
    ),
    responses((status = 200, description = "A page of orders", body = List<OrderView>)),
)]
pub(super) async fn list_orders(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    uri: http::Uri,
) -> Result<Json<List<OrderView>>, Problem> {
    list(&state, key.merchant, None, &uri).await
}

/// List the orders of the customer who is signed in, newest first
///
/// Orders that were placed in a session of this customer; not those that a guest placed with the same address.
#[utoipa::path(
    get, path = "/v1/customers/current/orders", tag = "customers",
    params(
        ("Orderworks-Session" = String, Header, description = "`ows_…`"),
        ("limit" = Option<u32>, Query, description = "1 to 100, 10 when absent"),
        ("starting_after" = Option<String>, Query, description = "The last order of the page before"),
        ("status" = Option<String>, Query, description = "Only orders in this state"),
    ),
    responses(
        (status = 200, description = "A page of orders", body = List<OrderView>),
        (status = 401, description = "The session has ended"),
    ),
)]
pub(super) async fn list_orders_of_customer(
    State(state): State<ApiState>,
    AnyKey(key): AnyKey,
    headers: HeaderMap,
    uri: http::Uri,
) -> Result<Json<List<OrderView>>, Problem> {
    let customer = sessions::current(&state, key.merchant, &headers).await?.owner.customer;
    list(&state, key.merchant, Some(customer), &uri).await
}

async fn list(
    state: &ApiState,
    merchant: MerchantId,
    customer: Option<CustomerId>,
    uri: &http::Uri,
) -> Result<Json<List<OrderView>>, Problem> {
    let query = Query::paged(uri, &["status"]);
    let status = query.parsed("status", "a state of an order");
    let mut page: PageRequest<OrderId> = query.page()?;
    let below = state.placements.listed_below(merchant, &state.ambient);
    page.after = Some(page.after.map_or(below, |after| after.min(below)));
    let page = state.orders.orders(merchant, OrderFilter { status, customer }, page).await?;
    Ok(Json(List::new(views(state, &page.items).await?, page.has_more)))
}

/// The orders with their payments; readable while the payment store is unavailable.
pub(in crate::routes) async fn views(state: &ApiState, orders: &[Order]) -> Result<Vec<OrderView>, Problem> {
    let sought = orders.iter().filter(|order| PaymentView::implied_by(order).is_none());
    let mut payments =
        payments_of(state, sought.map(|order| PaymentId::of_order(order.id)).collect()).await?;
    let view = |order: &Order| {
        let payment = payments.remove(&PaymentId::of_order(order.id));
        OrderView::new(order, payment.or_else(|| PaymentView::implied_by(order)))
    };
    Ok(orders.iter().map(view).collect())
}

/// The same of one order.
pub(super) async fn view(state: &ApiState, order: &Order) -> Result<OrderView, Problem> {
    let id = PaymentId::of_order(order.id);
    let payment = match PaymentView::implied_by(order) {
        Some(payment) => Some(payment),
        None => payments_of(state, vec![id]).await?.remove(&id),
    };
    Ok(OrderView::new(order, payment))
}

/// The payments as they are stored, without those that were not opened yet.
pub(super) async fn payments_of(
    state: &ApiState,
    ids: Vec<PaymentId>,
) -> Result<HashMap<PaymentId, PaymentView>, Problem> {
    let view = |payment: Payment| (payment.id, PaymentView::new(payment.id, payment.state()));
    match state.payments.committed_payments(&ids).await {
        Ok(payments) => Ok(payments.into_iter().map(view).collect()),
        Err(error) if error.class().is_transient() => {
            tracing::warn!(error = describe(&error), payments = ids.len(), "order shown without payment");
            Ok(ids.into_iter().map(|id| (id, PaymentView::unknown(id))).collect())
        }
        Err(defect) => Err(defect.into()),
    }
}
