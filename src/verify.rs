//! Scheduled audit, and its metrics.
//!
//! Guarantees: audits of one process do not overlap. An audit that cannot run leaves the gauges unchanged, so
//! `orderworks_verify_last_run_timestamp_seconds` tells the age of the last one. Never repairs. With several schedulers
//! each of them audits: that costs reads, and the mark of the last audit stands.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::metrics::{family::Family, gauge::Gauge};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use workers::verify::{Invariant, Plan, Scope, Summary, Verify, Violation, Watch};

use crate::metrics::Metrics;

/// Delay of the first audit after the start; the interval where that is shorter.
const FIRST_AFTER: Duration = Duration::from_secs(10);

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

pub(crate) struct Auditor {
    pub(crate) verify: Verify,
    pub(crate) gauges: VerifyGauges,
    pub(crate) every: Duration,
    pub(crate) grace: Duration,
}

impl Auditor {
    /// Runs until stopped. An audit in progress is aborted; it has changed nothing.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tick = interval_at(Instant::now() + self.every.min(FIRST_AFTER), self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = async {
                    tick.tick().await;
                    self.audit().await;
                } => {}
            }
        }
    }

    async fn audit(&self) {
        let plan = Plan { scope: Scope::Changed, grace: self.grace, repair: false };
        match self.verify.run(plan, &mut Log).await {
            Ok(summary) => {
                self.gauges.set(&summary);
                self.gauges.last_run.set(self.verify.ambient.now().as_duration().as_secs_f64());
                if summary.total() > 0 {
                    let (violations, orders) = (summary.total(), summary.orders);
                    tracing::error!(
                        alarm = true,
                        violations,
                        orders,
                        "audit found violations; see `orderworks verify`"
                    );
                }
            }
            Err(error) => {
                let error = jobs::error::describe(&error);
                tracing::warn!(error, "audit failed; retrying later");
            }
        }
    }
}

struct Log;

impl Watch for Log {
    fn violation(&mut self, violation: &Violation) {
        let (code, found, repair) = (violation.code, &violation.found, violation.repair.describe());
        tracing::error!(%code, ids = ?violation.ids, found, repair, "audit violation");
    }

    fn progress(&mut self, _orders: u64, _part: Option<f64>) {}
}
