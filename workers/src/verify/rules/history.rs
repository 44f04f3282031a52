//! Rule I5: an order's events are numbered without gaps, and each reached every endpoint that subscribed to it, or
//! will.
//!
//! An endpoint is checked for events since its last change only: whether it was enabled before is not stored. An event
//! that an endpoint did not take in all attempts was given up, as documented, and is the merchant's concern.

use std::time::Duration;

use jobs::Job;
use store::{audit::AuditedEndpoint, domain::Event, webhooks::WebhookAttempt};

use super::{Check, Result};
use crate::{
    jobs::DeliverWebhook,
    verify::finding::{Code, Finding},
};

/// Most events in one listing.
const EVENTS_LISTED_MAX: u64 = 1000;

impl Check<'_> {
    pub(super) fn history(&mut self) -> Result<()> {
        self.gaps();
        let facts = self.facts;
        for endpoint in facts.endpoints.iter().filter(|endpoint| endpoint.enabled) {
            let wanted = |event: &&Event| endpoint.events.includes(event.kind) && event.at > endpoint.since;
            for event in facts.events.iter().filter(wanted) {
                self.findings.extend(self.undelivered(endpoint, event)?);
            }
        }
        Ok(())
    }

    fn gaps(&mut self) {
        let (order, events) = (&self.facts.order, &self.facts.events);
        let expected = order.event_sequence.min(EVENTS_LISTED_MAX);
        if events.iter().map(|event| event.sequence).eq(1..=expected) {
            return;
        }
        let sequences: Vec<_> = events.iter().map(|event| event.sequence).take(20).collect();
        let found = format!("the order counts {}, the outbox has {sequences:?}", order.event_sequence);
        let people = "restore the outbox from a backup; lost events cannot be published again";
        self.findings.push(Finding::manual(order.id, Code::EventGap, found, people));
    }

    fn undelivered(&self, endpoint: &AuditedEndpoint, event: &Event) -> Result<Option<Finding>> {
        let of_both =
            |attempt: &&WebhookAttempt| attempt.endpoint == endpoint.id && attempt.event == event.id;
        let attempts = || self.facts.attempts.iter().filter(of_both);
        if attempts().any(WebhookAttempt::delivered) {
            return Ok(None);
        }
        let last = attempts().max_by_key(|attempt| (attempt.at, attempt.attempt));
        let (code, since, found) = match last {
            None => {
                (Code::WebhookMissing, event.at, format!("{} of {} was never sent", event.kind, event.at))
            }
            Some(last) if last.attempt >= DeliverWebhook::MAX_ATTEMPTS => return Ok(None),
            Some(last) => {
                let due = last.at.saturating_add(pause_after(last.attempt)).unwrap_or(last.at);
                let found = format!("attempt {} failed at {}, the next was due {due}", last.attempt, last.at);
                (Code::WebhookStalled, due, found)
            }
        };
        let job = self.job_of::<DeliverWebhook>(event, Some(endpoint.id))?;
        let Some(job) = job.filter(|_| since < self.before) else { return Ok(None) };
        let finding = Finding::missing(self.facts.order.id, code, found, job, since);
        Ok(Some(finding.with("event", event.id).with("endpoint", endpoint.id)))
    }
}

fn pause_after(attempt: u32) -> Duration {
    let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    DeliverWebhook::SCHEDULE.get(place).copied().unwrap_or_default()
}
