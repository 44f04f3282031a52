//! Metrics of scheduled audits.
//!
//! Guarantees: an audit that cannot run leaves the gauges unchanged, so
//! `orderworks_verify_last_run_timestamp_seconds` tells the age of the last one. Of several schedulers each has the
//! figures of the audits that it ran itself: those of the newest run count.

use std::sync::atomic::AtomicU64;

use base::Timestamp;
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use workers::verify::{Invariant, Summary};

use crate::metrics::Metrics;

#[derive(Default)]
pub(crate) struct VerifyGauges {
    violations: Family<[(&'static str, &'static str); 1], Gauge>,
    orders: Gauge,
    open: Gauge,
    last_run: Gauge<f64, AtomicU64>,
}

impl VerifyGauges {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let gauges = Self::default();
        metrics.register(|registry| {
            let Self { violations, orders, open, last_run } = &gauges;
            registry.register("verify_violations", "Violations found by the last audit", violations.clone());
            registry.register("verify_orders_checked", "Orders the last audit looked at", orders.clone());
            registry.register("verify_orders_open", "Of them, those under way", open.clone());
            registry.register(
                "verify_last_run_timestamp_seconds",
                "When the last audit that could look ended",
                last_run.clone(),
            );
        });
        // Zero from the start: an alert on a missing series never fires.
        gauges.set(&Summary::default());
        gauges
    }

    /// Shows the totals of an audit that ended then.
    pub(crate) fn report(&self, summary: &Summary, ended_at: Timestamp) {
        self.set(summary);
        self.last_run.set(ended_at.as_duration().as_secs_f64());
    }

    fn set(&self, summary: &Summary) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for invariant in Invariant::ALL {
            let label = [("invariant", invariant.as_str())];
            self.violations.get_or_create(&label).set(number(summary.of(invariant)));
        }
        self.orders.set(number(summary.orders));
        self.open.set(number(summary.open));
    }
}
