//! Metric of the API's caches: cached reads by kind, and answers.

use std::sync::Arc;

use api::ApiState;
use cache::{Cache, CacheKind};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

/// Name of the cache of answers beside the kinds of cached reads.
const PAGE: &str = "page";

pub(super) const REQUESTS: Metric = counter(
    "orderworks_cache_requests_total",
    &["cache", "result"],
    "Reads of a cache (one object is `data`, a list or search `query`, the version of a catalog `version`, an answer as \
     it is sent `page`): found in this process (`local_hit`) or in Redis (`shared_hit`), loaded from the store or \
     rendered (`miss`), or a former answer while the store was away (`stale`)",
);

/// Registers the metric of the cache of the API's reads, and of its answers.
pub(crate) fn register(metrics: &Metrics, cache: Arc<dyn Cache>, state: &ApiState) {
    let state = state.clone();
    metrics.show(&REQUESTS, move || {
        let reads = CacheKind::ALL.into_iter().flat_map(|kind| {
            let (stats, kind) = (cache.stats_of(kind), kind.as_str());
            let results =
                [("local_hit", stats.local_hits), ("shared_hit", stats.shared_hits), ("miss", stats.loads)];
            results.map(|(result, count)| Sample::of(&[kind, result], count))
        });
        let pages = state.page_stats();
        let answers = [("local_hit", pages.current), ("miss", pages.made), ("stale", pages.former)];
        reads.chain(answers.map(|(result, count)| Sample::of(&[PAGE, result], count))).collect()
    });
}
