//! Audit across all stores: checks that their records of each order agree, and makes the safe repairs.
//!
//! Guarantees: memory is bounded whatever the stores hold; nothing is changed unless repairs are requested; a repair is
//! safe to repeat and guarded in the write. An order that changed within the grace is in progress and not checked; a
//! suspected violation is checked again a moment later and reported only if both checks agree, so that an order caught
//! between two stores is no violation.
//!
//! Does not check: I6 and I7, which stored data cannot show; events of the catalog (the next event about a product
//! carries its whole state); data that retention has dropped.
//!
//! Start with [`Verify::run`]. `facts` gathers the records of one order, the rules check them, `queues` tells whether a
//! missing job is still to come, and the scan visits all orders and keeps the mark of incremental audits.

mod error;
mod facts;
mod finding;
mod gather;
mod ledger;
mod queues;
mod repair;
mod rules;
mod scan;
mod settle;
mod totals;

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use base::{Ambient, Timestamp};
use futures::future::BoxFuture;
use jobs::{Engine, engine::DeadReason, error::describe, records::RecordStore};
use store::{OrderStore, PaymentStore, StoreError, domain::OrderId};

use self::{
    facts::Facts,
    finding::{Finding, JOB_IS_DEAD},
    queues::{JobFate, Queues},
};
use crate::provider::{Ledger, LedgerEntry, PaymentProvider};

pub use error::VerifyError;
pub use finding::{Code, Invariant, Repair, Violation};
pub use settle::Settled;

/// Orders completed or checked concurrently.
const AT_ONCE: usize = 8;

pub struct Verify {
    /// Orders, stock, mails, events, webhook attempts.
    pub orders: Arc<dyn OrderStore>,
    pub payments: Arc<dyn PaymentStore>,
    /// Provider whose ledger is compared, where it can be listed.
    pub provider: Option<Arc<dyn PaymentProvider>>,
    pub engine: Arc<dyn Engine>,
    /// The log of attempts.
    pub records: Arc<dyn RecordStore>,
    pub ambient: Ambient,
    pub kept: Retention,
}

/// Retention of the stores; `None`: for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    pub orders: Option<Duration>,
    /// Of events and webhook attempts, the shorter one.
    pub history: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Orders that changed since the last such audit, or were open or wrong then; all orders the first time.
    Changed,
    /// Orders that changed within this span; leaves no mark.
    Since(Duration),
    /// All orders, every payment and the whole ledger.
    Full,
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub scope: Scope,
    /// Orders that changed less than this ago are in progress.
    pub grace: Duration,
    pub repair: bool,
}

/// Receiver of violations and progress while an audit runs.
pub trait Watch: Send + Sync {
    /// A violation was found, and repaired if it says so.
    fn violation(&mut self, violation: &Violation);

    /// Orders checked so far, and the fraction of the whole scan from 0 to 1, where it can be known.
    fn progress(&mut self, orders: u64, part: Option<f64>);
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub orders: u64,
    /// Of them, orders in progress or with a job still to come.
    pub open: u64,
    /// Payments whose order was looked up.
    pub payments: u64,
    /// Ledger entries whose order was looked up; `None` where the ledger cannot be listed.
    pub ledger: Option<u64>,
    pub products: u64,
    pub violations: BTreeMap<Code, u64>,
    pub repaired: u64,
}

impl Summary {
    pub fn total(&self) -> u64 {
        self.violations.values().sum()
    }

    /// Number of violations of one invariant.
    pub fn of(&self, invariant: Invariant) -> u64 {
        let of = self.violations.iter().filter(|(code, _)| code.invariant() == invariant);
        of.map(|(_, count)| count).sum()
    }
}

struct Audit<'a> {
    of: &'a Verify,
    plan: Plan,
    ledger: Option<&'a dyn Ledger>,
    /// The page of the ledger whose orders are checked now.
    page: Vec<LedgerEntry>,
    queues: Queues<'a>,
    /// Orders that changed after this are in progress.
    before: Timestamp,
    watch: &'a mut dyn Watch,
    summary: Summary,
}

enum Examined {
    Missing,
    /// Changed within the grace; its newest outbox message gets it checked again.
    Young,
    /// No violation, and nothing outstanding.
    Right,
    /// No violation as long as an outstanding job runs.
    Open,
    Wrong(Vec<Finding>),
}

impl Verify {
    /// Runs the audit, reports violations to `watch`, and returns the totals.
    // Boxed: compiled here, and not again in each crate that awaits it.
    pub fn run<'a>(
        &'a self,
        plan: Plan,
        watch: &'a mut dyn Watch,
    ) -> BoxFuture<'a, Result<Summary, VerifyError>> {
        Box::pin(async move {
            let mut audit = self.audit(plan, watch);
            audit.scan().await?;
            Ok(audit.summary)
        })
    }

    fn audit<'a>(&'a self, plan: Plan, watch: &'a mut dyn Watch) -> Audit<'a> {
        let before = self.ago(plan.grace);
        let ledger = self.provider.as_deref().and_then(PaymentProvider::ledger);
        let queues = Queues::new(self.engine.as_ref(), self.records.as_ref(), &self.ambient);
        let summary = Summary { ledger: ledger.map(|_| 0), ..Summary::default() };
        Audit { of: self, plan, ledger, page: Vec::new(), queues, before, watch, summary }
    }

    fn kept_from(&self, kept: Option<Duration>) -> Option<Timestamp> {
        kept.map(|kept| self.ago(kept))
    }

    fn ago(&self, span: Duration) -> Timestamp {
        self.ambient.now().checked_sub(span).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl Audit<'_> {
    async fn examine(&self, id: OrderId) -> Result<Examined, VerifyError> {
        match self.facts(id).await {
            Ok(Some(facts)) => self.check(&facts).await,
            Ok(None) => Ok(Examined::Missing),
            // Damaged data is a finding and does not stop the audit.
            Err(VerifyError::Store(StoreError::Corrupt { detail, .. })) => {
                Ok(Examined::Wrong(vec![Finding::of(id, Code::Unreadable, detail, Repair::RESTORE)]))
            }
            Err(error) => Err(error),
        }
    }

    async fn check(&self, facts: &Facts) -> Result<Examined, VerifyError> {
        let changed = facts.money.refunds.iter().map(|refund| refund.requested_at);
        if changed.chain([facts.order.updated_at]).any(|at| at >= self.before) {
            return Ok(Examined::Young);
        }
        let history_from = self.of.kept_from(self.of.kept.history);
        let mut findings = rules::order(facts, self.before, history_from, &self.of.ambient)?;
        findings.retain(|finding| !finding.violation.is_settled_by(&facts.money.settlements));
        self.filter(facts, findings).await
    }

    /// Drops findings that an outstanding job will resolve.
    async fn filter(&self, facts: &Facts, findings: Vec<Finding>) -> Result<Examined, VerifyError> {
        let (mut wrong, mut open) = (Vec::new(), false);
        for mut finding in findings {
            let Some(awaited) = &finding.unless else {
                wrong.push(finding);
                continue;
            };
            if facts.money.unsent_since.is_some() {
                // The job is not yet published: the relay lags, which is a violation of its own.
                open = true;
                continue;
            }
            match self.queues.job_fate(awaited).await? {
                JobFate::Open => open = true,
                JobFate::GivenUp if finding.violation.code.may_be_given_up() => {}
                JobFate::Dead(reason) => {
                    finding.violation.found.push_str(JOB_IS_DEAD);
                    if reason != DeadReason::Exhausted {
                        let people = "fix the cause of the dead job, then redrive it";
                        finding.violation.repair = Repair::Manual(people);
                    }
                    wrong.push(finding);
                }
                JobFate::GivenUp | JobFate::Gone if self.is_delivered(facts, &finding).await? => {}
                JobFate::GivenUp | JobFate::Gone => wrong.push(finding),
            }
        }
        Ok(match (wrong.is_empty(), open) {
            (false, _) => Examined::Wrong(wrong),
            (true, true) => Examined::Open,
            (true, false) => Examined::Right,
        })
    }

    /// Asks the store, for an order with more attempts than one listing holds.
    async fn is_delivered(&self, facts: &Facts, finding: &Finding) -> Result<bool, VerifyError> {
        let ids = (finding.violation.id("event"), finding.violation.id("endpoint"));
        let (Some(event), Some(endpoint)) = ids else { return Ok(false) };
        Ok(!facts.lists_all_attempts() && self.of.orders.delivered(endpoint, event).await?)
    }

    /// Reports a violation, after its repair where that is requested and safe.
    async fn report(&mut self, mut violation: Violation) -> Result<(), VerifyError> {
        if self.plan.repair && violation.repair.is_safe() {
            match self.repair(&violation.repair).await {
                Ok(repaired) => violation.repaired = repaired,
                // A repair that damaged data prevents is no end of the audit.
                Err(VerifyError::Store(error)) if !error.class().is_transient() => {
                    let _ = write!(violation.found, "; not repaired: {}", describe(&error));
                }
                Err(error) => return Err(error),
            }
            self.summary.repaired += u64::from(violation.repaired);
        }
        *self.summary.violations.entry(violation.code).or_default() += 1;
        self.watch.violation(&violation);
        Ok(())
    }
}
