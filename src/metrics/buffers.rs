//! Metrics of the buffers between runs and the job store, which drop rather than delay a run.

use std::sync::Arc;

use jobs::Reporter;
use parking_lot::Mutex;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

pub(super) const REPORTS_DROPPED: Metric = counter(
    "orderworks_run_reports_dropped_total",
    &[],
    "Ended runs whose last progress, log lines or result were dropped, as the job store was away",
);

/// The buffers of a process, whose drops are shown as one figure.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<BufferLists>>);

#[derive(Default)]
struct BufferLists {
    reporters: Vec<Reporter>,
}

impl Buffers {
    /// Adds a reporter; the first one registers the metric.
    pub(crate) fn add_reporter(&self, metrics: &Metrics, reporter: Reporter) {
        let is_first = {
            let mut lists = self.0.lock();
            lists.reporters.push(reporter);
            lists.reporters.len() == 1
        };
        if is_first {
            let all = self.clone();
            metrics.show(&REPORTS_DROPPED, move || {
                Sample::only(all.0.lock().reporters.iter().map(Reporter::dropped).sum::<u64>())
            });
        }
    }
}
