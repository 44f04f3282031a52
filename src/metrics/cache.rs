//! Metric of the API's cache of catalog reads.

use std::sync::Arc;

use cache::Cache;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

pub(super) const REQUESTS: Metric = counter(
    "orderworks_cache_requests_total",
    &["cache", "result"],
    "Reads of a cache: found in this process (`local_hit`) or in Redis (`shared_hit`), or loaded from the store (`miss`)",
);

/// Registers the metric of the cache of the API's catalog reads.
pub(crate) fn register(metrics: &Metrics, cache: Arc<dyn Cache>) {
    metrics.show(&REQUESTS, move || {
        let stats = cache.stats();
        let counts =
            [("local_hit", stats.local_hits), ("miss", stats.loads), ("shared_hit", stats.shared_hits)];
        counts.into_iter().map(|(result, count)| Sample::of(&["catalog", result], count)).collect()
    });
}
