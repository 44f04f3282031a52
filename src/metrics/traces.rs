//! Metric of the spans that this process records.

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};
use crate::traces::counts;

pub(super) const SPANS: Metric = counter(
    "orderworks_trace_spans_total",
    &["result"],
    "Ended spans of recorded traces: sent to the collector (`exported`), or dropped, as too many waited (`queue_full`) \
     or as the collector did not take them (`failed`)",
);

pub(crate) fn register(metrics: &Metrics) {
    let counts = counts();
    metrics.show(&SPANS, move || {
        counts.all().into_iter().map(|(result, spans)| Sample::of(&[result], spans)).collect()
    });
}
