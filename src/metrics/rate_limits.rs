//! Metric of the requests that the API's rate limits rejected.

use std::collections::BTreeMap;

use api::ApiState;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

pub(super) const RATE_LIMITED: Metric = counter(
    "orderworks_rate_limited_total",
    &["limit"],
    "Requests that a rate limit refused; the limit is named as in the header `RateLimit-Policy`",
);

pub(crate) fn register(metrics: &Metrics, state: &ApiState) {
    let state = state.clone();
    metrics.show(&RATE_LIMITED, move || {
        let mut by_limit = BTreeMap::new();
        for (limit, refused) in state.rate_limited() {
            *by_limit.entry(limit).or_insert(0_u64) += refused;
        }
        by_limit.into_iter().map(|(limit, refused)| Sample::of(&[limit], refused)).collect()
    });
}
