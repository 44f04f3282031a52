//! Rules that check an order against its facts: pure, one file per invariant.
//!
//! A finding that an outstanding job would resolve names that job, and counts only where the queues do not hold it.

mod flow;
mod history;
mod mails;
mod money;

use base::{Ambient, Timestamp};
use jobs::{Envelope, Job, JobId, engine::EngineError, envelope::EnqueueOptions};
use store::{
    domain::{EndpointId, Event, EventKind, Order},
    outbox::{OutboxBody, OutboxMessage, Position},
};

use super::{facts::Facts, finding::Finding};
use crate::subscriptions::{expand, job_id};

/// Time bounds of a check.
pub(super) struct AuditWindow<'a> {
    /// Changes after this are still in progress.
    pub(super) before: Timestamp,
    /// Events, mails and attempts of orders placed before this may have been dropped with their age.
    pub(super) history_from: Option<Timestamp>,
    pub(super) ambient: &'a Ambient,
}

/// All suspected violations of an order.
pub(super) fn order(facts: &Facts, look: &AuditWindow<'_>) -> Result<Vec<Finding>, EngineError> {
    let mut findings = Vec::new();
    flow::check(facts, look, &mut findings)?;
    money::check(facts, look, &mut findings)?;
    if look.history_from.is_none_or(|from| facts.order.created_at >= from) {
        mails::check(facts, look, &mut findings)?;
        history::check(facts, look, &mut findings)?;
    }
    Ok(findings)
}

impl AuditWindow<'_> {
    fn is_due(&self, since: Timestamp) -> bool {
        since < self.before
    }

    /// The job of this type that an event leads to, as the relay publishes it.
    fn job_of<J: Job>(
        &self,
        event: &Event,
        endpoint: Option<EndpointId>,
    ) -> Result<Option<Envelope>, EngineError> {
        let message = OutboxMessage { position: Position::only(0), body: OutboxBody::Event(event.clone()) };
        let jobs = expand(&message, endpoint.as_slice(), self.ambient)?;
        Ok(jobs.into_iter().find(|job| job.kind == J::KIND))
    }

    /// The job of an order's first event of this kind; under an id derived from the order where the outbox no longer
    /// has the event.
    fn job_for<J: Job>(&self, facts: &Facts, kind: EventKind, job: &J) -> Result<Envelope, EngineError> {
        let event = facts.events.iter().find(|event| event.kind == kind);
        let known = event.map(|event| self.job_of::<J>(event, None)).transpose()?.flatten();
        match known {
            Some(job) => Ok(job),
            None => self.job_as(job_id(facts.order.id.0, J::KIND, "audit"), &facts.order, job),
        }
    }

    fn job_as<J: Job>(&self, id: JobId, order: &Order, job: &J) -> Result<Envelope, EngineError> {
        let options = EnqueueOptions { id: Some(id), trace: order.trace, ..EnqueueOptions::default() };
        Envelope::new(job, options, self.ambient)
    }
}
