//! Metrics of the outbox, as the order store tells them: what waits for a relay, also while none runs.

use std::sync::Arc;

use base::{Ambient, Timestamp, time::between};
use jobs::error::describe;
use store::{OrderStore, StoreError};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, gauge},
};

pub(super) const PENDING: Metric = gauge(
    "orderworks_outbox_pending",
    &[],
    "Messages of the outbox that no relay has published yet, counted up to 250,000 in each database; the age of the \
     oldest one tells at any depth how far the relays are behind",
);
pub(super) const OLDEST_AGE: Metric = gauge(
    "orderworks_outbox_oldest_age_seconds",
    &[],
    "Time since the oldest unpublished message was written; 0 without one",
);

/// Registers the metrics of the outbox of a store.
pub(crate) fn register(metrics: &Metrics, orders: Arc<dyn OrderStore>, ambient: &Ambient) {
    let clock = ambient.clone();
    let asked = metrics.ask("outbox", move || {
        let (orders, at) = (Arc::clone(&orders), clock.now());
        async move { figures(orders.as_ref(), at).await.map_err(|error| describe(&error)) }
    });
    let pending = Arc::clone(&asked);
    metrics.show(&PENDING, move || pending.shown(|(messages, _)| Sample::only(*messages)));
    metrics.show(&OLDEST_AGE, move || asked.shown(|(_, age)| Sample::only(*age)));
}

/// Messages, and the age of the oldest one in seconds.
async fn figures(orders: &dyn OrderStore, at: Timestamp) -> Result<(u64, f64), StoreError> {
    let backlog = orders.backlog().await?;
    let age = backlog.oldest_at.map(|since| between(since, at)).unwrap_or_default();
    Ok((backlog.messages, age.as_secs_f64()))
}
