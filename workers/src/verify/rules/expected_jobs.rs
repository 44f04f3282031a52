//! The jobs that a check expects.

use jobs::{Envelope, Job, JobId, envelope::EnqueueOptions};
use store::{
    domain::{EndpointId, Event, EventKind},
    outbox::OutboxBody,
};

use super::{Check, Result};
use crate::subscriptions::{expand, job_id};

impl Check<'_> {
    /// The job of this type that an event leads to, as the relay publishes it.
    pub(super) fn job_of<J: Job>(
        &self,
        event: &Event,
        endpoint: Option<EndpointId>,
    ) -> Result<Option<Envelope>> {
        let jobs = expand(&OutboxBody::Event(event.clone()), endpoint.as_slice(), self.ambient)?;
        Ok(jobs.into_iter().find(|job| job.kind == J::KIND))
    }

    /// The job of the order's first event of this kind; under an id derived from the order where the outbox no longer
    /// has the event.
    pub(super) fn job_for<J: Job>(&self, kind: EventKind, job: &J) -> Result<Envelope> {
        let event = self.facts.events.iter().find(|event| event.kind == kind);
        let known = event.map(|event| self.job_of::<J>(event, None)).transpose()?.flatten();
        match known {
            Some(job) => Ok(job),
            None => self.job_as(job_id(self.facts.order.id.0, J::KIND, "audit"), job),
        }
    }

    pub(super) fn job_as<J: Job>(&self, id: JobId, job: &J) -> Result<Envelope> {
        let trace = self.facts.order.trace.clone();
        let options = EnqueueOptions { id: Some(id), trace, ..EnqueueOptions::default() };
        Envelope::new(job, options, self.ambient)
    }
}
