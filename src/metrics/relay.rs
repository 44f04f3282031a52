//! Metrics of the relay, and of orders by the states that it publishes them in.
//!
//! Guarantees: an order is counted in each of its states, once its event is published: by one relay, as a rule, and by
//! two where a relay dies between publishing and noting it.

use store::domain::{EventKind, OrderStatus};
use tokio::sync::watch;
use workers::relay::RelayHealth;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter, gauge},
};

pub(super) const SET_ASIDE: Metric = counter(
    "orderworks_outbox_set_aside_total",
    &[],
    "Times that a message of the outbox was set aside, as this relay cannot read it or its queue takes no jobs",
);
pub(super) const MESSAGES: Metric =
    counter("orderworks_relay_messages_total", &[], "Messages of the outbox that this relay has published");
pub(super) const JOBS: Metric =
    counter("orderworks_relay_jobs_total", &[], "Jobs that this relay has published and the queue confirmed");
pub(super) const FAILURES: Metric = counter(
    "orderworks_relay_failures_total",
    &[],
    "Rounds of this relay that failed, as the order store or a queue was away or took nothing",
);
pub(super) const LAST_SUCCESS: Metric = gauge(
    "orderworks_relay_last_success_timestamp_seconds",
    &[],
    "When this relay last found the outbox empty or published all that it took; missing before",
);
pub(super) const ORDERS: Metric = counter(
    "orderworks_orders_total",
    &["status"],
    "Orders that came into a state, counted by the relay that publishes it; `pending` are all orders placed",
);

/// The event by which an order comes into a state.
const STATES: [(OrderStatus, EventKind); 6] = [
    (OrderStatus::Pending, EventKind::OrderPlaced),
    (OrderStatus::Paid, EventKind::OrderPaid),
    (OrderStatus::Fulfilled, EventKind::OrderFulfilled),
    (OrderStatus::PaymentFailed, EventKind::PaymentFailed),
    (OrderStatus::Cancelled, EventKind::OrderCancelled),
    (OrderStatus::Refunded, EventKind::OrderRefunded),
];

/// Registers the metrics of a relay with this health.
pub(crate) fn register(metrics: &Metrics, health: &watch::Receiver<RelayHealth>) {
    let show = |metric: &'static Metric, read: fn(&RelayHealth) -> Vec<Sample>| {
        let health = health.clone();
        metrics.show(metric, move || read(&health.borrow()));
    };
    show(&SET_ASIDE, |health| Sample::only(health.set_aside));
    show(&MESSAGES, |health| Sample::only(health.messages_sent));
    show(&JOBS, |health| Sample::only(health.jobs_published));
    show(&FAILURES, |health| Sample::only(health.failures));
    show(&LAST_SUCCESS, |health| {
        let seconds = health.last_success.map(|at| at.as_duration().as_secs_f64());
        seconds.map(Sample::only).unwrap_or_default()
    });
    show(&ORDERS, |health| {
        let of = |(status, event): (OrderStatus, EventKind)| {
            Sample::of(&[status.as_str()], health.events_sent.of(event))
        };
        STATES.into_iter().map(of).collect()
    });
}
