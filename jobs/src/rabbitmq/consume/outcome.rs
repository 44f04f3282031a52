//! Settlements that need more than an acknowledgement: made durable elsewhere first.
//!
//! Guarantees: a delivery is acknowledged only after its copy was confirmed, or its schedule or death written. A crash
//! in between leaves both: a job may run twice, it is never lost. Failures of the broker are retried for as long as the
//! session lives; the job store is waited for two seconds and then done without: a long delay waits in the broker, as
//! does a dead job, and a unique key and a cancel request are deleted later. The end of a job with an order key waits
//! for the store. A released job is published as a new copy, see `docs/adr/0015-give-back.md`; its crash count travels
//! in a header.

use std::{sync::Arc, time::Duration};

use base::{Timestamp, time::later};
use tokio::time::timeout;

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
            route::{STORE_PATIENCE, to_dead},
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
/// Delays of a job whose key is in use, the last one again and again: each is one message on the delay ladder, so N
/// jobs that wait for a key cost N messages a minute.
const ASIDE: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_mins(1)];
/// Most ended jobs remembered to be deleted from the job store later; the entries of others expire.
const UNCLEARED_MAX: usize = 10_000;

/// A settlement beyond a plain acknowledgement.
#[derive(Debug, Clone)]
pub(super) enum DeliveryOutcome {
    /// Completed or cancelled.
    Ended,
    /// A copy of a job that has ended, or that waits behind another one of its order key: dropped.
    Stale,
    /// Uses an attempt.
    Retry { at: Timestamp, error: String },
    /// Run again at this time; uses no attempt.
    Snooze { at: Timestamp },
    /// Not run: available again at this time, or at once; nothing is counted.
    Again(Option<Timestamp>),
    /// A suspect whose turn has come: available at once, as a copy that is to run alone.
    Turn,
    /// Its concurrency key is in use: again after a delay that grows each time.
    Aside,
    /// A long delay that began in the broker is not over.
    Wait,
    /// Kept as a dead job.
    Dead { reason: DeadReason, error: String },
    /// Kept unchanged as a dead job.
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
                (meta.alone, meta.key_waits) = (None, 0);
                return self.inner.requeue_fairly(&envelope, meta, *at).await;
            }
            DeliveryOutcome::Snooze { at } => {
                let (envelope, meta) = self.job()?;
                let meta = Meta { alone: None, key_waits: 0, ..meta };
                return self.inner.requeue_fairly(&envelope, meta, *at).await;
            }
            DeliveryOutcome::Again(at) => {
                let (envelope, meta) = self.job()?;
                return self.inner.requeue(&envelope, meta, *at).await;
            }
            DeliveryOutcome::Turn => {
                let (envelope, meta) = self.job()?;
                return self.inner.requeue(&envelope, Meta { turn: true, ..meta }, None).await;
            }
            DeliveryOutcome::Aside => {
                let (envelope, mut meta) = self.job()?;
                let at = later(now, aside_for(meta.key_waits));
                meta.key_waits = meta.key_waits.saturating_add(1);
                return self.inner.requeue(&envelope, meta, Some(at)).await;
            }
            DeliveryOutcome::Wait => {
                let (envelope, meta) = self.job()?;
                return self.inner.continue_delay(&envelope, meta).await;
            }
            DeliveryOutcome::Ended => {}
            DeliveryOutcome::Stale => {
                tracing::warn!(
                    job.id = %self.id,
                    job.queue = self.shared.queue,
                    "copy of an ordered job dropped: another job holds its key"
                );
                return Ok(());
            }
            DeliveryOutcome::Dead { reason, error } => {
                let (mut envelope, mut meta) = self.job()?;
                // The last run of an exhausted job counts as an attempt like those before it.
                envelope.attempt =
                    envelope.attempt.saturating_add(u32::from(*reason == DeadReason::Exhausted));
                meta.last_error = Some(bounded(error));
                return self.store_dead(to_dead(&envelope, meta, *reason, now)).await;
            }
            DeliveryOutcome::Unreadable { error } => {
                return self.store_dead(self.unreadable(error, now)?).await;
            }
        }
        self.end().await
    }

    /// Keeps a dead job. The job store frees its unique key, and passes its order key on, when it takes the job.
    async fn store_dead(&self, dead: Outgoing) -> Result<(), EngineError> {
        if self.inner.store_dead(&self.shared.queue, dead).await? {
            if self.is_ordered() {
                self.inner.heads_due.notify_one();
            }
            if self.cancel_requested {
                self.clear(false).await;
            }
        }
        Ok(())
    }

    /// Deletes the job store's unique key and cancel request of an ended job, or has it done later. An order key is not
    /// left for later: one that a crash leaves held would hold up all its jobs.
    async fn end(&self) -> Result<(), EngineError> {
        if self.is_ordered() {
            self.inner.end_turn(self.id).await?;
        }
        let unique = matches!(&self.message, Message::Job(envelope, _) if envelope.unique_key.is_some());
        if unique || self.cancel_requested {
            self.clear(unique).await;
        }
        Ok(())
    }

    fn is_ordered(&self) -> bool {
        matches!(&self.message, Message::Job(envelope, _) if envelope.order_key.is_some())
    }

    async fn clear(&self, unique: bool) {
        let ids = [self.id];
        let cleared = async {
            if unique {
                self.inner.store.release(&ids).await?;
            }
            if self.cancel_requested {
                self.inner.store.forget_cancels(&ids).await?;
            }
            Ok::<_, EngineError>(())
        };
        if !matches!(timeout(STORE_PATIENCE, cleared).await, Ok(Ok(()))) {
            self.inner.clear_later(&ids);
        }
    }

    /// The job with its metadata; the turn of a suspect ends with its delivery.
    fn job(&self) -> Result<(Envelope, Meta), EngineError> {
        match &self.message {
            Message::Job(envelope, meta) => {
                Ok((Envelope::clone(envelope), Meta { turn: false, ..meta.clone() }))
            }
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
}

fn aside_for(waits: u32) -> Duration {
    let step = usize::try_from(waits).unwrap_or(usize::MAX);
    ASIDE[step.min(ASIDE.len() - 1)]
}

impl RabbitClient {
    /// Remembers ended jobs whose unique keys and cancel requests are still in the job store.
    fn clear_later(&self, ids: &[JobId]) {
        let mut uncleared = self.uncleared.lock();
        let room = UNCLEARED_MAX.saturating_sub(uncleared.len());
        uncleared.extend(ids.iter().take(room));
    }

    /// Deletes their entries, once.
    pub(super) async fn clear_ended(&self) {
        let ids = std::mem::take(&mut *self.uncleared.lock());
        if ids.is_empty() {
            return;
        }
        let cleared = async {
            self.store.release(&ids).await?;
            self.store.forget_cancels(&ids).await
        };
        if let Err(error) = cleared.await {
            tracing::debug!(error = describe(&error), "ended jobs not deleted from the job store");
            self.clear_later(&ids);
        }
    }
}
