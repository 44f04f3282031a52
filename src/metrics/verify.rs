//! Metrics of scheduled audits.
//!
//! Guarantees: an audit that cannot run leaves the figures unchanged, so
//! `orderworks_verify_last_run_timestamp_seconds` tells the age of the last one. Of several schedulers each has the
//! figures of the audits that it ran itself: those of the newest run count.

use std::sync::Arc;

use base::Timestamp;
use parking_lot::Mutex;
use workers::verify::{Invariant, Summary};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, gauge},
};

pub(super) const VIOLATIONS: Metric =
    gauge("orderworks_verify_violations", &["invariant"], "Violations found by the last audit");
pub(super) const ORDERS: Metric =
    gauge("orderworks_verify_orders_checked", &[], "Orders the last audit looked at");
pub(super) const OPEN: Metric = gauge("orderworks_verify_orders_open", &[], "Of them, those under way");
pub(super) const LAST_RUN: Metric = gauge(
    "orderworks_verify_last_run_timestamp_seconds",
    &[],
    "When the last audit that could look ended; 0 before",
);

/// The last audit. Zeros from the start: an alert on a missing series never fires.
#[derive(Clone, Default)]
pub(crate) struct VerifyGauges(Arc<Mutex<LastAudit>>);

#[derive(Default)]
struct LastAudit {
    summary: Summary,
    /// Seconds since the Unix epoch; zero before the first audit.
    ended_at: f64,
}

impl VerifyGauges {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let gauges = Self::default();
        let last = gauges.clone();
        metrics.show(&VIOLATIONS, move || {
            let last = last.0.lock();
            let of = |invariant: Invariant| Sample::of(&[invariant.as_str()], last.summary.of(invariant));
            Invariant::ALL.into_iter().map(of).collect()
        });
        let last = gauges.clone();
        metrics.show(&ORDERS, move || Sample::only(last.0.lock().summary.orders));
        let last = gauges.clone();
        metrics.show(&OPEN, move || Sample::only(last.0.lock().summary.open));
        let last = gauges.clone();
        metrics.show(&LAST_RUN, move || Sample::only(last.0.lock().ended_at));
        gauges
    }

    /// Shows the totals of an audit that ended then.
    pub(crate) fn report(&self, summary: &Summary, ended_at: Timestamp) {
        let ended_at = ended_at.as_duration().as_secs_f64();
        *self.0.lock() = LastAudit { summary: summary.clone(), ended_at };
    }
}
