//! Metric of the endpoints that deliveries disabled.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use workers::WebhookDelivery;

use crate::metrics::Metrics;

/// Collector that reads the deliveries' counter when metrics are encoded.
#[derive(Debug)]
struct EndpointsDisabled(Arc<AtomicU64>);

/// Registers the counter of endpoints that these deliveries disable.
pub(crate) fn register(metrics: &Metrics, webhooks: &WebhookDelivery) {
    let collector = EndpointsDisabled(Arc::clone(&webhooks.endpoints_disabled));
    metrics.register(|registry| registry.register_collector(Box::new(collector)));
}

impl Collector for EndpointsDisabled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(self.0.load(Ordering::Relaxed));
        let help = "Webhook endpoints disabled, as they failed for days or answered 410";
        counter.encode(encoder.encode_descriptor(
            "webhook_endpoints_disabled",
            help,
            None,
            MetricType::Counter,
        )?)
    }
}
