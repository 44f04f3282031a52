//! Job that audits the orders that changed since the last audit; see [`crate::verify`].
//!
//! Never repairs. Logs each violation, hands the totals to [`ScheduledAudit::report`] and keeps them as the result of
//! the run; an audit that cannot look reports nothing. One that is interrupted by a stop or takes too long is dropped,
//! as it has changed nothing, and runs again.

use std::time::Duration;

use jobs::{Backoff, Job, JobError, engine::Interrupt, error::describe};
use serde::{Deserialize, Serialize};
use serde_json::json;

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
    const SOFT_TIMEOUT: Option<Duration> = Some(AUDIT_MAX);
    const TIMEOUT: Duration = AUDIT_MAX.saturating_add(Duration::from_secs(30));
    const BACKOFF: Backoff = BACKOFF;

    fn unique_key(&self) -> Option<String> {
        Some(SINGLE_RUN.to_owned())
    }

    async fn run(&self, ctx: &HousekeepingContext) -> Result<()> {
        let Some(audit) = &ctx.env.audit else { return Ok(()) };
        let plan = Plan { scope: Scope::Changed, grace: audit.grace, repair: false };
        let mut watch = RunWatch(ctx);
        let audited = tokio::select! {
            biased;
            why = ctx.signal.fired() => match why {
                Interrupt::SoftTimeout => Err(TOO_LONG.to_owned()),
                _ => return Err(JobError::cancel(format!("interrupted: {why:?}"))),
            },
            audited = audit.verify.run(plan, &mut watch) => audited.map_err(|error| describe(&error)),
        };
        let error = match audited {
            Ok(summary) => {
                (audit.report)(&summary, ctx.ambient.now());
                complain(&summary);
                let totals = json!({ "orders": summary.orders, "violations": summary.total() });
                return ctx.set_result(&totals).map_err(JobError::cancel);
            }
            Err(error) => error,
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

/// Logs violations, and reports how far the audit has come.
struct RunWatch<'a>(&'a HousekeepingContext);

impl Watch for RunWatch<'_> {
    fn violation(&mut self, violation: &Violation) {
        let (code, found, repair) = (violation.code, &violation.found, violation.repair.describe());
        tracing::error!(%code, ids = ?violation.ids, found, repair, "audit violation");
        self.0.log(format_args!("{code} {:?}", violation.ids));
    }

    fn progress(&mut self, orders: u64, part: Option<f64>) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction from 0 to 1")]
        let percent = (part.unwrap_or(0.0) * 100.0) as u8;
        self.0.progress(percent, format_args!("{orders} orders checked"));
    }
}
