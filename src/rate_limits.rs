//! Metric of the requests that the API's rate limits rejected.

use std::collections::BTreeMap;

use api::ApiState;
use prometheus_client::{encoding::EncodeMetric, metrics::counter::ConstCounter};

use crate::metrics::Metrics;

pub(crate) fn register(metrics: &Metrics, state: &ApiState) {
    let state = state.clone();
    metrics.counter("rate_limited", "Requests that a rate limit refused", move |mut family| {
        let mut by_limit = BTreeMap::new();
        for (limit, refused) in state.rate_limited() {
            *by_limit.entry(limit).or_insert(0_u64) += refused;
        }
        for (limit, refused) in by_limit {
            ConstCounter::new(refused).encode(family.encode_family(&[("limit", limit)])?)?;
        }
        Ok(())
    });
}
