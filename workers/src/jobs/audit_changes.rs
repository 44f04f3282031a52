//! Job that audits the orders that changed since the last audit; see [`crate::verify`].
//!
//! Never repairs. Logs each violation, and hands the totals to [`ScheduledAudit::report`]; an audit that cannot look
//! reports nothing. One that is interrupted by a stop is dropped, as it has changed nothing, and runs again.

use std::time::Duration;

use jobs::{Backoff, Job, JobError, error::describe};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Result;
#[cfg(doc)]
use crate::housekeeping::ScheduledAudit;
use crate::{
    housekeeping::{ATTEMPTS_MAX, BACKOFF, HousekeepingContext, HousekeepingEnv, SINGLE_RUN},
    queues::HOUSEKEEPING,
    verify::{Plan, Scope, Summary, Violation, Watch},
};

/// Longest audit, below what RabbitMQ allows for a run.
const AUDIT_MAX: Duration = Duration::from_mins(24);
const TOO_LONG: &str =
    "it took longer than 24 minutes; run `orderworks verify --full` once, which leaves a mark";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditChanges {}

impl Job for AuditChanges {
    type Env = HousekeepingEnv;
    const KIND: &'static str = "audit_changes";
    const QUEUE: &'static str = HOUSEKEEPING;
    const MAX_ATTEMPTS: u32 = ATTEMPTS_MAX;
    const TIMEOUT: Duration = AUDIT_MAX.saturating_add(Duration::from_secs(30));
    const BACKOFF: Backoff = BACKOFF;

    fn unique_key(&self) -> Option<String> {
        Some(SINGLE_RUN.to_owned())
    }

    async fn run(&self, ctx: &HousekeepingContext) -> Result<()> {
        let Some(audit) = &ctx.env.audit else { return Ok(()) };
        let plan = Plan { scope: Scope::Changed, grace: audit.grace, repair: false };
        let mut log = Log;
        let audited = tokio::select! {
            biased;
            why = ctx.signal.fired() => return Err(JobError::cancel(format!("interrupted: {why:?}"))),
            audited = timeout(AUDIT_MAX, audit.verify.run(plan, &mut log)) => audited,
        };
        let error = match audited {
            Ok(Ok(summary)) => {
                (audit.report)(&summary, ctx.ambient.now());
                complain(&summary);
                return Ok(());
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => TOO_LONG.to_owned(),
        };
        tracing::warn!(error, "audit failed; retrying later");
        Err(JobError::cancel(error))
    }
}

fn complain(summary: &Summary) {
    let (violations, orders) = (summary.total(), summary.orders);
    if violations > 0 {
        tracing::error!(alarm = true, violations, orders, "audit found violations; see `orderworks verify`");
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
