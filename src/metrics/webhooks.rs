//! Metrics of webhook deliveries.

use std::sync::{Arc, atomic::Ordering};

use workers::WebhookDelivery;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

pub(super) const DELIVERIES: Metric = counter(
    "orderworks_webhook_deliveries_total",
    &["outcome"],
    "Attempts at deliveries of webhooks: answered with success (`delivered`) or not (`rejected`), without an answer \
     (`unreachable`), and not made, as the share of the endpoint was used up or the endpoint paused (`put_off`)",
);
pub(super) const DISABLED: Metric = counter(
    "orderworks_webhook_endpoints_disabled_total",
    &[],
    "Webhook endpoints disabled, as they failed for days or answered 410",
);

/// Registers the metrics of the deliveries of this process.
pub(crate) fn register(metrics: &Metrics, webhooks: &WebhookDelivery) {
    let attempts = Arc::clone(&webhooks.attempts);
    metrics.show(&DELIVERIES, move || {
        attempts.all().map(|(labels, count)| Sample::of(&labels, count)).collect()
    });
    let disabled = Arc::clone(&webhooks.endpoints_disabled);
    metrics.show(&DISABLED, move || Sample::only(disabled.load(Ordering::Relaxed)));
}
