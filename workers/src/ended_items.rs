//! Deliveries that were given up and mails that were refused, as items of bulk operations.
//!
//! Such jobs end as cancelled, so that no engine holds them: they are listed by the log of attempts, newest first, and
//! rebuilt from the events of their order as the relay builds them. Guarantees: what was delivered or mailed meanwhile
//! is not sent again, as the job has its former id and payload. Does not reach jobs that are not about an order, nor
//! deliveries that were sent again on request, whose ids come from the request; both are counted as failed.

use std::sync::Arc;

use async_trait::async_trait;
use base::{Ambient, Timestamp, TraceContext};
use jobs::{
    Envelope, Job, JobId, Publish,
    bulk::{Acted, Item, ItemPage, Items, Operation, OperationError, Plan, Verb},
    engine::EngineError,
    records::{AttemptOutcome, AttemptRecord, RecordFilter, RecordStore},
};
use store::{OrderStore, StoreError, domain::OrderId, outbox::OutboxBody};

use crate::{
    jobs::{DeliverWebhook, SendEmail},
    mail_domain,
    subscriptions::{Recipients, expand_for},
};

/// Name of deliveries that were given up.
pub const WEBHOOKS: &str = "webhooks";
/// Name of mails about orders that were refused.
pub const MAILS: &str = "mails";
/// Attempts looked at for one page.
const LOOK_AT: u32 = 500;

/// Stores that ended jobs are listed and rebuilt from, and the engine that takes them again.
#[derive(Clone)]
pub struct EndedItemsParts {
    pub orders: Arc<dyn OrderStore>,
    pub records: Arc<dyn RecordStore>,
    pub engine: Arc<dyn Publish>,
    pub ambient: Ambient,
    /// As of the relay, see [`Relay::mail_domains`](crate::relay::Relay::mail_domains).
    pub mail_domains: bool,
}

/// Both kinds of ended jobs.
pub fn ended_items(parts: &EndedItemsParts) -> [Arc<dyn Items>; 2] {
    let of = |name, kind| -> Arc<dyn Items> { Arc::new(EndedJobs { name, kind, parts: parts.clone() }) };
    [of(WEBHOOKS, DeliverWebhook::KIND), of(MAILS, SendEmail::KIND)]
}

/// Jobs of a kind that ended as cancelled.
struct EndedJobs {
    name: &'static str,
    kind: &'static str,
    parts: EndedItemsParts,
}

#[async_trait]
impl Items for EndedJobs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&self, plan: &Plan) -> Result<(), OperationError> {
        let filter = &plan.filter;
        if plan.verb != Verb::Retry {
            return Err(OperationError::Plan(format!("{} can be retried, nothing else", self.name)));
        }
        let is_of_jobs = filter.queue.is_some() || filter.kind.is_some() || filter.key.is_some();
        if is_of_jobs || filter.id.is_some() || filter.state.is_some() || filter.reason.is_some() {
            let why =
                "choose by subject, error and age alone: these have no queue, kind, key, state or reason";
            return Err(OperationError::Plan(format!("{}: {why}", self.name)));
        }
        Ok(())
    }

    fn effect(&self, _: &Plan) -> String {
        "is sent with fresh attempts, unless it was meanwhile".to_owned()
    }

    async fn limits(&self, _: &Operation) -> Result<Vec<String>, EngineError> {
        let mut limits = Vec::new();
        if self.name == WEBHOOKS {
            limits
                .push("events that are not about an order, and those sent again on request, fail".to_owned());
        }
        Ok(limits)
    }

    async fn page(
        &self,
        operation: &Operation,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ItemPage, EngineError> {
        // Time of the last attempt looked at, and how many of that time there were.
        let (resumed, done) = after.and_then(position).unwrap_or((i64::MAX, 0));
        let next_ms = Timestamp::from_millisecond(resumed.saturating_add(1));
        let filter = RecordFilter {
            kind: Some(self.kind.to_owned()),
            outcome: Some(AttemptOutcome::Cancelled),
            subject: operation.plan.filter.subject.clone(),
            before: Some(next_ms.map_or(operation.created_at, |next| next.min(operation.created_at))),
            limit: LOOK_AT,
            ..RecordFilter::default()
        };
        let (mut page, mut last, mut same) = (ItemPage::default(), resumed, 0);
        for record in self.parts.records.list(&filter).await? {
            let at = record.started_at.as_millisecond();
            same = if at == last { same + 1 } else { 1 };
            last = at;
            if at == resumed && same <= done {
                continue;
            }
            page.next = Some(format!("{at}/{same}"));
            if self.matches(operation, &record) {
                page.items.push(item(&record));
                if page.items.len() >= limit as usize {
                    break;
                }
            }
        }
        Ok(page)
    }

    async fn act(&self, operation: &Operation, item: &str) -> Result<Acted, EngineError> {
        let Some((job, at)) = attempt(item) else { return Ok(Acted::Left) };
        let newest = RecordFilter { job: Some(job), limit: 1, ..RecordFilter::default() };
        let record = self.parts.records.list(&newest).await?.pop();
        // It may have run since.
        let is_same = |record: &AttemptRecord| record.started_at.as_millisecond() == at;
        let Some(record) = record.filter(|record| is_same(record) && self.matches(operation, record)) else {
            return Ok(Acted::Left);
        };
        let Some(envelope) = self.rebuilt(&record).await? else {
            let text = "not about an order that is kept, or sent again on request: request it again";
            return Err(EngineError::Refused(format!("{job}: {text}")));
        };
        self.parts.engine.publish(vec![envelope]).await?;
        Ok(Acted::Done)
    }
}

impl EndedJobs {
    fn matches(&self, operation: &Operation, record: &AttemptRecord) -> bool {
        let (filter, at) = (&operation.plan.filter, record.started_at);
        let error = record.error.as_deref().unwrap_or_default();
        record.kind == self.kind
            && record.outcome == AttemptOutcome::Cancelled
            && at < operation.created_at
            && filter.subject.as_ref().is_none_or(|subject| record.subject.as_ref() == Some(subject))
            && filter.error_contains.as_ref().is_none_or(|part| error.contains(part.as_str()))
            && filter.since.is_none_or(|since| at >= since)
            && filter.before.is_none_or(|before| at < before)
    }

    /// The job as the relay published it, but for its time.
    async fn rebuilt(&self, record: &AttemptRecord) -> Result<Option<Envelope>, EngineError> {
        let order = record.subject.as_deref().and_then(|subject| subject.parse::<OrderId>().ok());
        let Some(order) = order else { return Ok(None) };
        let orders = &self.parts.orders;
        let attempts = orders.attempts_of_order(order).await.map_err(failed)?;
        for event in orders.order_events(order, 0).await.map_err(failed)? {
            // An endpoint that was disabled before the first attempt may be enabled now.
            let mut endpoints = orders.subscribers(event.merchant, event.kind).await.map_err(failed)?;
            endpoints.extend(attempts.iter().map(|attempt| attempt.endpoint));
            let message = OutboxBody::Event(event);
            let domain = if self.parts.mail_domains {
                mail_domain::of_message(orders.as_ref(), &message).await.map_err(failed)?
            } else {
                None
            };
            let recipients = Recipients { subscribers: &endpoints, mail_domain: domain.as_deref() };
            let jobs = expand_for(&message, recipients, &self.parts.ambient)?;
            if let Some(found) = jobs.into_iter().find(|job| job.id == record.job && job.kind == self.kind) {
                // Of a trace that has ended: the new run links to it.
                return Ok(Some(Envelope { trace: found.trace.map(TraceContext::linked), ..found }));
            }
        }
        Ok(None)
    }
}

fn failed(error: StoreError) -> EngineError {
    EngineError::new(error.class(), "order store", error)
}

/// Time and number of a position.
fn position(text: &str) -> Option<(i64, u32)> {
    let (at, number) = text.split_once('/')?;
    Some((at.parse().ok()?, number.parse().ok()?))
}

/// Job and time of an item.
fn attempt(item: &str) -> Option<(JobId, i64)> {
    let (job, at) = item.split_once('@')?;
    Some((job.parse().ok()?, at.parse().ok()?))
}

fn item(record: &AttemptRecord) -> Item {
    let (subject, error) = (record.subject.as_deref(), record.error.as_deref());
    let text = format!("{} {}", subject.unwrap_or("-"), error.unwrap_or_default());
    Item { id: format!("{}@{}", record.job, record.started_at.as_millisecond()), text }
}
