//! Reading of orders.

use axum::{Json, extract::State};
use base::error_class::describe;
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use store::domain::{Order, OrderId, PageRequest, PaymentId};

use crate::{
    auth::{AnyKey, SecretKey},
    input::{PathText, Query, parse_id},
    order_access,
    problem::Problem,
    state::ApiState,
    view::{List, OrderView, PaymentView},
};

/// Payments looked up concurrently for one list.
const LOOKUPS_MAX: usize = 8;

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
    get, path = "/v1/orders", tag = "orders",
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
    let query = Query::paged(&uri, &["status"]);
    let status = query.parsed("status", "a state of an order");
    let mut page: PageRequest<OrderId> = query.page()?;
    let below = state.placements.listed_below(key.merchant, &state.ambient);
    page.after = Some(page.after.map_or(below, |after| after.min(below)));
    let page = state.orders.orders(key.merchant, status, page).await?;
    let views = looked_up(page.items, |order| {
        let state = state.clone();
        async move { view(&state, &order).await }
    });
    Ok(Json(List::new(views.await?, page.has_more)))
}

/// Views of items whose payments are looked up, in the order of the items.
pub(super) async fn looked_up<T, V, F>(items: Vec<T>, view: impl Fn(T) -> F) -> Result<Vec<V>, Problem>
where
    F: Future<Output = Result<V, Problem>>,
{
    stream::iter(items).map(view).buffered(LOOKUPS_MAX).try_collect().await
}

/// The order with its payment; readable while the payment store is unavailable.
pub(super) async fn view(state: &ApiState, order: &Order) -> Result<OrderView, Problem> {
    let payment = match PaymentView::implied_by(order) {
        Some(payment) => Some(payment),
        None => payment_of(state, order.id).await?,
    };
    Ok(OrderView::new(order, payment))
}

/// The payment of an order as it is stored; `None` before it was opened.
pub(super) async fn payment_of(state: &ApiState, order: OrderId) -> Result<Option<PaymentView>, Problem> {
    let id = PaymentId::of_order(order);
    match state.payments.committed_payment(id).await {
        Ok(payment) => Ok(payment.map(|payment| PaymentView::new(id, payment.state()))),
        Err(error) if error.class().is_transient() => {
            tracing::warn!(error = describe(&error), order.id = %order, "order shown without payment");
            Ok(Some(PaymentView::unknown(id)))
        }
        Err(defect) => Err(defect.into()),
    }
}
