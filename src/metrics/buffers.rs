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

/// The buffers of a process, whose drops are shown as one figure for each kind.
#[derive(Default)]
pub(crate) struct Buffers {
    reporters: Drops,
    recorders: Drops,
}

/// The drops of buffers of one kind.
#[derive(Default)]
struct Drops(Arc<Mutex<Vec<DroppedCount>>>);

/// Number of drops of a buffer until now.
type DroppedCount = Box<dyn Fn() -> u64 + Send>;

impl Buffers {
    pub(crate) fn add_reporter(&self, metrics: &Metrics, reporter: Reporter) {
        self.reporters.add(metrics, &REPORTS_DROPPED, Box::new(move || reporter.dropped()));
    }

    pub(crate) fn add_recorder(&self, metrics: &Metrics, recorder: Recorder) {
        self.recorders.add(metrics, &RECORDS_DROPPED, Box::new(move || recorder.dropped()));
    }
}

impl Drops {
    /// Adds a buffer; the first one registers the metric.
    fn add(&self, metrics: &Metrics, metric: &'static Metric, dropped: DroppedCount) {
        let is_first = {
            let mut counts = self.0.lock();
            counts.push(dropped);
            counts.len() == 1
        };
        if is_first {
            let all = Arc::clone(&self.0);
            metrics
                .show(metric, move || Sample::only(all.lock().iter().map(|dropped| dropped()).sum::<u64>()));
        }
    }
}
