//! Metrics of webhook deliveries.

use std::sync::{Arc, atomic::Ordering};

use workers::WebhookDelivery;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

pub(super) const DISABLED: Metric = counter(
    "orderworks_webhook_endpoints_disabled_total",
    &[],
    "Webhook endpoints disabled, as they failed for days or answered 410",
);

/// Registers the metrics of the deliveries of this process.
pub(crate) fn register(metrics: &Metrics, webhooks: &WebhookDelivery) {
    let disabled = Arc::clone(&webhooks.endpoints_disabled);
    metrics.show(&DISABLED, move || Sample::only(disabled.load(Ordering::Relaxed)));
}
