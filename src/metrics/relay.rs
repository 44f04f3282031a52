//! Metrics of the relay.

use tokio::sync::watch;
use workers::relay::RelayHealth;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

pub(super) const SET_ASIDE: Metric = counter(
    "orderworks_outbox_set_aside_total",
    &[],
    "Times that a message of the outbox was set aside, as this relay cannot read it",
);

/// Registers the metrics of a relay with this health.
pub(crate) fn register(metrics: &Metrics, health: &watch::Receiver<RelayHealth>) {
    let count = |metric: &'static Metric, read: fn(&RelayHealth) -> u64| {
        let health = health.clone();
        metrics.show(metric, move || Sample::only(read(&health.borrow())));
    };
    count(&SET_ASIDE, |health| health.set_aside);
}
