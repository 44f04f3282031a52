//! Settlements that need more than an acknowledgement: made durable elsewhere first.
//!
//! Guarantees: a delivery is acknowledged only after its copy was confirmed, or its schedule or release written. A
//! crash in between leaves both: a job may run twice, it is never lost. Failures are retried for as long as the session
//! lives. A released job is published as a new copy, because in RabbitMQ 3.10 every return to a queue counts against
//! the delivery limit, which is meant for crashes; the job's own crash count travels in a header.

use std::{sync::Arc, time::Duration};

use base::Timestamp;

use super::consumer::ConsumerShared;
use crate::{
    engine::{DeadReason, EngineError},
    envelope::{Envelope, JobId},
    error::{bounded, describe},
    job::{Backoff, Priority},
    rabbitmq::{
        client::RabbitClient,
        publish::{
            batch::Outgoing,
            route::{delayed, to_dead},
        },
        wire::{
            headers::Meta,
            message::{self, Message},
            topology::dead_queue,
        },
    },
};

/// Delay between attempts to make a settlement durable.
const AGAIN: Backoff = Backoff::FullJitter { base: Duration::from_millis(100), cap: Duration::from_secs(2) };

/// A settlement beyond a plain acknowledgement.
#[derive(Debug, Clone)]
pub(super) enum DeliveryOutcome {
    /// Completed or cancelled.
    Ended,
    /// Uses an attempt.
    Retry { at: Timestamp, error: String },
    /// Run again at this time; uses no attempt.
    Snooze { at: Timestamp },
    /// Not run: available again at this time, or at once; nothing is counted.
    Again(Option<Timestamp>),
    /// The remaining delay takes another rung.
    Wait,
    /// Sent to the dead queue.
    Dead { reason: DeadReason, error: String },
    /// Sent to the dead queue unchanged.
    Unreadable { error: String },
}

/// A delivery whose settlement is being made durable.
pub(super) struct Settling {
    pub(super) inner: Arc<RabbitClient>,
    pub(super) shared: Arc<ConsumerShared>,
    pub(super) class: Priority,
    pub(super) message: Message,
    pub(super) id: JobId,
    pub(super) cancel_requested: bool,
}

impl Settling {
    /// Returns when the settlement is durable and the delivery may be acknowledged.
    pub(super) async fn run(self, outcome: DeliveryOutcome) {
        let mut failures = 0;
        while let Err(error) = self.attempt(&outcome).await {
            failures += 1;
            let error = describe(&error);
            if self.shared.stall(error.clone()) {
                tracing::warn!(job.id = %self.id, job.queue = self.shared.queue, error, "settlement delayed, retrying");
            }
            tokio::time::sleep(AGAIN.delay(failures, &self.inner.ambient)).await;
        }
        self.shared.flow();
    }

    async fn attempt(&self, outcome: &DeliveryOutcome) -> Result<(), EngineError> {
        let now = self.inner.ambient.now();
        match outcome {
            DeliveryOutcome::Retry { at, error } => {
                let (mut envelope, mut meta) = self.job()?;
                envelope.attempt = envelope.attempt.saturating_add(1);
                meta.last_error = Some(bounded(error));
                meta.first_failed_at.get_or_insert(now);
                meta.alone = None;
                return self.inner.requeue(&envelope, meta, Some(*at)).await;
            }
            DeliveryOutcome::Snooze { at } => {
                let (envelope, meta) = self.job()?;
                return self.inner.requeue(&envelope, Meta { alone: None, ..meta }, Some(*at)).await;
            }
            DeliveryOutcome::Again(at) => {
                let (envelope, meta) = self.job()?;
                return self.inner.requeue(&envelope, meta, *at).await;
            }
            DeliveryOutcome::Wait => {
                let (envelope, meta) = self.job()?;
                return self.publish(delayed(&envelope, meta)).await;
            }
            DeliveryOutcome::Ended => {}
            DeliveryOutcome::Dead { reason, error } => {
                let (mut envelope, mut meta) = self.job()?;
                // The last run of an exhausted job counts as an attempt like those before it.
                envelope.attempt =
                    envelope.attempt.saturating_add(u32::from(*reason == DeadReason::Exhausted));
                meta.last_error = Some(bounded(error));
                self.publish(to_dead(&envelope, meta, *reason, now)).await?;
            }
            DeliveryOutcome::Unreadable { error } => self.publish(self.unreadable(error, now)?).await?,
        }
        self.end().await
    }

    /// Removes the job store's unique key and cancel request of an ended job.
    async fn end(&self) -> Result<(), EngineError> {
        if matches!(&self.message, Message::Job(envelope, _) if envelope.unique_key.is_some()) {
            self.inner.store.release(&[self.id]).await?;
        }
        if self.cancel_requested {
            self.inner.store.forget_cancels(&[self.id]).await?;
        }
        Ok(())
    }

    fn job(&self) -> Result<(Envelope, Meta), EngineError> {
        match &self.message {
            Message::Job(envelope, meta) => Ok((Envelope::clone(envelope), meta.clone())),
            Message::Unreadable(_) => Err(EngineError::Refused("the message is unreadable".to_owned())),
        }
    }

    fn unreadable(&self, error: &str, now: Timestamp) -> Result<Outgoing, EngineError> {
        let meta = Meta {
            last_error: Some(bounded(error)),
            first_failed_at: Some(now),
            dead: Some((DeadReason::Undecodable, now)),
            ..Meta::default()
        };
        let Message::Unreadable(raw) = &self.message else {
            return Err(EngineError::Refused("the message is readable".to_owned()));
        };
        let raw = message::dead_unreadable(raw, self.id, self.class, &meta);
        Ok(Outgoing::to_queue(dead_queue(&self.shared.queue), raw))
    }

    async fn publish(&self, outgoing: Outgoing) -> Result<(), EngineError> {
        self.inner.publisher.publish(vec![outgoing]).await
    }
}
