//! The audit across all stores: does what they say of each order hold together, and if not, what would mend it?
//!
//! Guarantees: memory is bounded whatever the stores hold; it looks, and changes nothing unless told to repair; what it
//! repairs is safe to repeat and guarded in the write. What changed less than the grace ago is under way and not judged;
//! what seems wrong is looked at twice, a moment apart, and told only if both looks agree, so that an order caught
//! between two stores is no violation.
//!
//! Does not look at: I6 and I7, which stored data cannot show; events of the catalog (the next one about a product tells
//! all of it); what retention has dropped.
//!
//! Start with [`Verify::run`]; orders are judged in `judge`, by facts gathered in `facts`; whether a missing job is still
//! to come is asked in `queues`; what is walked, and how an incremental audit remembers, is in `walk`.

mod facts;
mod finding;
mod queues;
mod repair;
mod rules;
mod scan;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{Ambient, Timestamp};
use jobs::{
    Engine,
    engine::{DeadReason, EngineError},
    records::RecordStore,
};
use store::{OrderStore, PaymentStore, StoreError, domain::OrderId};

use self::{
    facts::{Facts, is_damage},
    finding::Finding,
    queues::{JobFate, Queues},
    rules::AuditWindow,
};
use crate::provider::{Ledger, PaymentProvider, ProviderError};

pub use finding::{Code, Invariant, Repair, Violation};

/// What an audit looks into.
pub struct Verify {
    /// Orders, stock, mails, events, webhook attempts.
    pub orders: Arc<dyn OrderStore>,
    /// Payments.
    pub payments: Arc<dyn PaymentStore>,
    /// Whose ledger to compare with, where it has one that can be listed.
    pub provider: Option<Arc<dyn PaymentProvider>>,
    /// The queues.
    pub engine: Arc<dyn Engine>,
    /// The log of attempts.
    pub records: Arc<dyn RecordStore>,
    /// Clock, ids, randomness.
    pub ambient: Ambient,
    /// How long orders are kept, and how long events and attempts; `None` for good.
    pub kept: Retention,
}

/// How far back the stores go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// Orders.
    pub orders: Option<Duration>,
    /// The shorter of events and webhook attempts.
    pub history: Option<Duration>,
}

/// Which orders to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that changed since the last such audit, or were open then; all at the first time.
    Changed,
    /// Those that changed within this span; remembers nothing.
    Since(Duration),
    /// All, with every payment and the whole ledger.
    Full,
}

/// How to look.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// At what.
    pub scope: Scope,
    /// What changed less than this ago is under way.
    pub grace: Duration,
    /// Whether to do the safe repairs.
    pub repair: bool,
}

/// Is told while an audit runs.
pub trait Watch: Send + Sync {
    /// A violation was found, and repaired if it says so.
    fn violation(&mut self, violation: &Violation);

    /// How far it has come: orders looked at, and which part of all that is, from 0 to 1, as far as can be known.
    fn progress(&mut self, orders: u64, part: Option<f64>);
}

/// What an audit came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Orders looked at.
    pub orders: u64,
    /// Of them, those under way or waited for by a job.
    pub open: u64,
    /// Payments looked at for their order.
    pub payments: u64,
    /// Entries of the provider's ledger looked at for their order; `None` where it cannot be listed.
    pub ledger: Option<u64>,
    /// Products.
    pub products: u64,
    /// Violations by code.
    pub violations: BTreeMap<Code, u64>,
    /// Violations for which the repair was done.
    pub repaired: u64,
}

impl Summary {
    /// All violations.
    pub fn total(&self) -> u64 {
        self.violations.values().sum()
    }

    /// Violations of one invariant.
    pub fn of(&self, invariant: Invariant) -> u64 {
        let of = self.violations.iter().filter(|(code, _)| code.invariant() == invariant);
        of.map(|(_, count)| count).sum()
    }
}

/// The audit could not look.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The provider's ledger cannot be read.
    #[error("the provider's ledger cannot be read")]
    Provider(#[from] ProviderError),
}

/// One run.
struct Audit<'a> {
    of: &'a Verify,
    plan: Plan,
    ledger: Option<&'a dyn Ledger>,
    queues: Queues<'a>,
    /// What changed after this is under way.
    before: Timestamp,
    watch: &'a mut dyn Watch,
    summary: Summary,
}

/// How an order is.
enum Examined {
    /// There is no such order.
    Missing,
    /// Changed within the grace; its newest message will have it looked at again.
    Young,
    /// Nothing to say, now or later.
    Right,
    /// Right as long as a job does its work.
    Open,
    /// Something is wrong.
    Wrong(Vec<Finding>),
}

impl Verify {
    /// Looks, tells `watch` what it finds, and sums up.
    pub async fn run(&self, plan: Plan, watch: &mut dyn Watch) -> Result<Summary, VerifyError> {
        let before = self.ago(plan.grace);
        let ledger = self.provider.as_deref().and_then(PaymentProvider::ledger);
        let queues = Queues::new(self.engine.as_ref(), self.records.as_ref(), &self.ambient);
        let summary = Summary { ledger: ledger.map(|_| 0), ..Summary::default() };
        let mut audit = Audit { of: self, plan, ledger, queues, before, watch, summary };
        audit.scan().await?;
        Ok(audit.summary)
    }

    fn kept_from(&self, kept: Option<Duration>) -> Option<Timestamp> {
        kept.map(|kept| self.ago(kept))
    }

    fn ago(&self, span: Duration) -> Timestamp {
        self.ambient.now().checked_sub(span).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl Audit<'_> {
    /// One look at an order.
    async fn examine(&self, id: OrderId) -> Result<Examined, VerifyError> {
        let facts = Facts::of(id, self.of.orders.as_ref(), self.of.payments.as_ref(), self.ledger).await;
        let facts = match facts {
            Ok(Some(facts)) => facts,
            Ok(None) => return Ok(Examined::Missing),
            Err(error) => {
                let Some(detail) = is_damage(&error) else { return Err(error) };
                let people = Repair::Manual("restore what is damaged from a backup");
                return Ok(Examined::Wrong(vec![Finding::of(id, Code::Unreadable, detail, people)]));
            }
        };
        let changed = facts.money.refunds.iter().map(|refund| refund.requested_at);
        if changed.chain([facts.order.updated_at]).any(|at| at >= self.before) {
            return Ok(Examined::Young);
        }
        let history_from = self.of.kept_from(self.of.kept.history);
        let look = AuditWindow { before: self.before, history_from, ambient: &self.of.ambient };
        let findings = rules::order(&facts, &look)?;
        self.filter(&facts, findings).await
    }

    /// Drops findings that a job will mend.
    async fn filter(&self, facts: &Facts, findings: Vec<Finding>) -> Result<Examined, VerifyError> {
        let (mut wrong, mut open) = (Vec::new(), false);
        for mut finding in findings {
            let Some(awaited) = &finding.unless else {
                wrong.push(finding);
                continue;
            };
            if facts.money.unsent_since.is_some() {
                // Its job is not even published: the relay is behind, which is told by itself.
                open = true;
                continue;
            }
            match self.queues.job_fate(awaited).await? {
                JobFate::Open => open = true,
                JobFate::GivenUp if finding.violation.code.may_be_given_up() => {}
                JobFate::Dead(reason) => {
                    finding.violation.found.push_str("; its job is dead");
                    if reason != DeadReason::Exhausted {
                        let people = "mend what killed its job, then redrive it";
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

    /// For an order with more attempts than one listing holds.
    async fn is_delivered(&self, facts: &Facts, finding: &Finding) -> Result<bool, VerifyError> {
        let ids = (finding.violation.id("event"), finding.violation.id("endpoint"));
        let (Some(event), Some(endpoint)) = ids else { return Ok(false) };
        Ok(!facts.lists_all_attempts() && self.of.orders.delivered(endpoint, event).await?)
    }

    /// Tells of a violation, mending it before where that is asked for and safe.
    async fn report(&mut self, mut violation: Violation) -> Result<(), VerifyError> {
        if self.plan.repair && violation.repair.is_safe() {
            violation.repaired = repair::apply(self.of, &violation.repair).await?;
            self.summary.repaired += u64::from(violation.repaired);
        }
        *self.summary.violations.entry(violation.code).or_default() += 1;
        self.watch.violation(&violation);
        Ok(())
    }
}
