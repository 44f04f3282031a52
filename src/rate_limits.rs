//! Metric of the requests that the API's rate limits rejected.

use std::collections::BTreeMap;

use api::ApiState;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use crate::metrics::Metrics;

/// Collector that reads the API's counters when metrics are encoded.
#[derive(Debug)]
struct RateLimited(ApiState);

/// Registers the counter of rejected requests.
pub(crate) fn register(metrics: &Metrics, state: &ApiState) {
    metrics.register(|registry| registry.register_collector(Box::new(RateLimited(state.clone()))));
}

impl Collector for RateLimited {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut by_limit = BTreeMap::new();
        for (limit, refused) in self.0.rate_limited() {
            *by_limit.entry(limit).or_insert(0_u64) += refused;
        }
        let help = "Requests that a rate limit refused";
        let mut family = encoder.encode_descriptor("rate_limited", help, None, MetricType::Counter)?;
        for (limit, refused) in by_limit {
            ConstCounter::new(refused).encode(family.encode_family(&[("limit", limit)])?)?;
        }
        Ok(())
    }
}
