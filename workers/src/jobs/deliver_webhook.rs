//! Job that delivers one event to one endpoint of a merchant.
//!
//! A delivery without a share of the slots, or to a paused endpoint, waits without using an attempt and without holding
//! a slot, see [`webhooks::shares`].
//!
//! The steps, and what a crash after each of them leaves:
//! 1. check whether the endpoint took the event before: then nothing is sent;
//! 2. post it: a crash after this posts it again under the same `webhook-id`, by which receivers recognise repetitions;
//! 3. log the attempt: logging again changes nothing.
//!
//! An unreachable receiver is the merchant's concern: the job ends as cancelled with the reason and never becomes a
//! dead letter. The event stays, and the merchant can have it sent again, see [`store::outbox::Command::Resend`].

use std::{sync::atomic::Ordering, time::Duration};

use base::{Timestamp, time::between};
use jobs::{Backoff, Job, JobError, Priority};
use serde::{Deserialize, Serialize};
use store::{
    domain::{EndpointId, EventId, OrderId},
    webhooks::{Endpoint, EndpointFinding, Subscription, WebhookAttempt},
};
use webhooks::{
    Answer, Post, SecretError, TOTAL_TIMEOUT,
    shares::{Message, Wait},
};

use super::{Result, not_found};
use crate::{
    env::{Context, Env},
    event_body::body_of,
    queues::WEBHOOKS,
};

/// Longest wait of a delivery to a paused endpoint, counted from its publishing; then it is given up.
const REST_WITHIN: Duration = Duration::from_hours(5 * 24);
/// First attempt, hours after attempt 1, whose failure may disable the endpoint: one message that fails a month after
/// another one proves nothing.
const DISABLE_FROM_ATTEMPT: u32 = 5;
/// Longest wait a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverWebhook {
    pub endpoint: EndpointId,
    pub event: EventId,
    pub order: Option<OrderId>,
    /// Sends the event even if it was delivered before: the merchant requested it.
    #[serde(default)]
    pub again: bool,
}

impl Job for DeliverWebhook {
    type Env = Env;
    const KIND: &'static str = "deliver_webhook";
    const QUEUE: &'static str = WEBHOOKS;
    const MAX_ATTEMPTS: u32 = 10;
    const TIMEOUT: Duration = TOTAL_TIMEOUT.saturating_add(Duration::from_secs(15));
    const PRIORITY: Priority = Priority::Default;
    const BACKOFF: Backoff = Backoff::Table(Self::SCHEDULE);

    fn subject(&self) -> Option<String> {
        self.order.map(|order| order.to_string())
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let env = &ctx.env;
        let endpoint = env.orders.endpoint_by_id(self.endpoint).await?;
        let endpoint = endpoint.ok_or_else(|| not_found(ctx, "endpoint"))?;
        if !endpoint.enabled {
            return Err(JobError::cancel("endpoint_disabled"));
        }
        if endpoint.events == Subscription::Unreadable {
            return Err(JobError::retry("endpoint_subscription_unreadable"));
        }
        let age = between(ctx.created_at, ctx.ambient.now());
        let message = Message { first: ctx.attempt == 1, age };
        let permit = match env.webhooks.shares.enter(endpoint.merchant, endpoint.id, message) {
            Ok(permit) => permit,
            Err(wait) => return Err(self.put_off(ctx, &endpoint, wait).await?),
        };
        if !self.again && env.orders.delivered(self.endpoint, self.event).await? {
            return Ok(());
        }
        let event = env.orders.event_by_id(self.event).await?;
        let event = event.ok_or_else(|| not_found(ctx, "event"))?;
        let at = ctx.ambient.now();
        let post = Post {
            url: &endpoint.url,
            secrets: endpoint.secrets(at),
            id: event.id.to_string(),
            body: body_of(&event),
            trace: ctx.trace.clone().or_else(|| event.trace.clone()),
            at,
            timeout: permit.timeout(),
        };
        let started = tokio::time::Instant::now();
        let answer = env.webhooks.sender.post(post).await;
        let answer = answer.map_err(|SecretError| JobError::cancel("endpoint_secret_damaged"))?;
        permit.settle(&answer);
        env.webhooks.count(&answer);
        let finding = Self::finding(ctx, &answer);
        note(ctx, &endpoint, finding, at).await?;
        let duration = started.elapsed();
        env.orders
            .record_attempt(WebhookAttempt { duration, ..self.attempt(ctx.attempt, at, &answer) })
            .await?;
        if answer.status == Some(410) && self.has_moved(ctx, &endpoint).await? {
            return Err(JobError::retry("endpoint_changed"));
        }
        Self::conclude(ctx, &answer)
    }
}

impl DeliverWebhook {
    /// Pause after each failed attempt but the last; the first attempt is made at once. 75.6 hours in all, the schedule
    /// of Svix.
    pub(crate) const SCHEDULE: &'static [Duration] = &[
        Duration::from_secs(5),
        Duration::from_mins(5),
        Duration::from_mins(30),
        Duration::from_hours(2),
        Duration::from_hours(5),
        Duration::from_hours(10),
        Duration::from_hours(14),
        Duration::from_hours(20),
        Duration::from_hours(24),
    ];

    fn attempt(&self, attempt: u32, at: Timestamp, answer: &Answer) -> WebhookAttempt {
        WebhookAttempt {
            endpoint: self.endpoint,
            event: self.event,
            order: self.order,
            attempt,
            at,
            duration: Duration::ZERO,
            status: answer.status,
            error: answer.error.map(str::to_owned),
        }
    }

    /// Whether the endpoint got another URL during the attempt, about which the answer says nothing.
    async fn has_moved(&self, ctx: &Context, tried: &Endpoint) -> Result<bool> {
        let present = ctx.env.orders.endpoint_by_id(self.endpoint).await?;
        Ok(present.is_some_and(|present| present.url != tried.url))
    }

    /// Snoozes; or gives up on an endpoint that has been paused for days, with a last attempt that says so.
    async fn put_off(&self, ctx: &Context, endpoint: &Endpoint, wait: Wait) -> Result<JobError> {
        let now = ctx.ambient.now();
        ctx.env.webhooks.count_put_off();
        match wait {
            Wait::Rest(_) if between(ctx.created_at, now) > REST_WITHIN => {
                let last = self.attempt(ctx.max_attempts, now, &Answer::failed("endpoint_rests"));
                ctx.env.orders.record_attempt(last).await?;
                let finding = EndpointFinding::Fails { disable_after: ctx.env.webhooks.disable_after };
                note(ctx, endpoint, finding, now).await?;
                Ok(JobError::cancel("undeliverable: endpoint_rests"))
            }
            Wait::Rest(wait) | Wait::Turn(wait) => Ok(JobError::Snooze(wait)),
        }
    }

    fn finding(ctx: &Context, answer: &Answer) -> EndpointFinding {
        let has_tried = ctx.attempt >= DISABLE_FROM_ATTEMPT;
        match (answer.error, answer.status) {
            (None, _) => EndpointFinding::Works,
            (Some(_), Some(410)) => EndpointFinding::Gone,
            (Some(_), _) => {
                EndpointFinding::Fails { disable_after: ctx.env.webhooks.disable_after.filter(|_| has_tried) }
            }
        }
    }

    fn conclude(ctx: &Context, answer: &Answer) -> Result<()> {
        let Some(code) = answer.error else { return Ok(()) };
        let why = answer.status.map_or_else(|| code.to_owned(), |status| format!("{code}_{status}"));
        if answer.status == Some(410) {
            return Err(JobError::cancel("endpoint_gone"));
        }
        if ctx.is_last_attempt() {
            return Err(JobError::cancel(format!("undeliverable: {why}")));
        }
        match answer.retry_after {
            // Later than the schedule if requested, never sooner: ten attempts must not be used up in ten seconds.
            Some(wait) => {
                let scheduled = Self::BACKOFF.delay(ctx.attempt, &ctx.ambient);
                Err(JobError::retry_after(wait.min(RETRY_AFTER_MAX).max(scheduled), why))
            }
            None => Err(JobError::retry(why)),
        }
    }
}

/// Stores an attempt's finding where it changes the endpoint: not every success, and not every failure.
async fn note(ctx: &Context, endpoint: &Endpoint, finding: EndpointFinding, at: Timestamp) -> Result<()> {
    if endpoint.clone().take_in(finding, at).is_some()
        && ctx.env.orders.note_endpoint(endpoint.merchant, endpoint.id, &endpoint.url, finding, at).await?
    {
        ctx.env.webhooks.endpoints_disabled.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(endpoint.id = %endpoint.id, ?finding, "webhook endpoint disabled");
    }
    Ok(())
}
