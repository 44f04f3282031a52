//! Metrics of the buffers between runs and what is stored of them, which drop rather than delay a run.

use std::sync::Arc;

use jobs::{Reporter, recorder::Recorder};
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

pub(super) const RECORDS_DROPPED: Metric = counter(
    "orderworks_attempt_records_dropped_total",
    &[],
    "Attempts that are missing in the log of attempts, as its buffer was full or its store away",
);

/// The buffers of a process, whose drops are shown as one figure.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<BufferLists>>);

#[derive(Default)]
struct BufferLists {
    reporters: Vec<Reporter>,
    recorders: Vec<Recorder>,
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

    /// Adds a recorder; the first one registers the metric.
    pub(crate) fn add_recorder(&self, metrics: &Metrics, recorder: Recorder) {
        let is_first = {
            let mut lists = self.0.lock();
            lists.recorders.push(recorder);
            lists.recorders.len() == 1
        };
        if is_first {
            let all = self.clone();
            metrics.show(&RECORDS_DROPPED, move || {
                Sample::only(all.0.lock().recorders.iter().map(Recorder::dropped).sum::<u64>())
            });
        }
    }
}
