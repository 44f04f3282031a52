//! Takes messages out of the outbox and publishes the jobs they lead to.
//!
//! Guarantees: a message is marked sent only after the engine confirmed all its jobs and the event itself, so a crash
//! publishes again, under the same ids; memory is bounded by one batch; an engine or a store that is down is waited
//! for with growing, jittered pauses and logged once per change. Stopping in the middle loses nothing. Several relays
//! may run: the outbox never hands messages of one subject to two of them.
//!
//! What becomes what is in [`crate::subscriptions`].

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use base::{Ambient, Timestamp};
use jobs::{Backoff, Engine, JobError, engine::Event};
use store::{
    OrderStore,
    domain::{EndpointId, EventKind, MerchantId},
    outbox::{OutboxBody, OutboxMessage},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{subscriptions::expand, webhook::body_of};

/// Messages taken at once at most.
pub const BATCH_MAX: u32 = 256;
/// Jobs handed to the engine in one call at most; a batch with many endpoints is published in parts.
const PUBLISH_MAX: usize = 1024;
/// Longer than publishing a batch ever takes; after it another relay may take over.
const LEASE: Duration = Duration::from_secs(30);
const BACKOFF: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(100), cap: Duration::from_secs(10) };

/// What a relay works with.
pub struct Relay {
    /// The outbox and the endpoints of merchants.
    pub store: Arc<dyn OrderStore>,
    /// Where jobs go.
    pub engine: Arc<dyn Engine>,
    /// Clock, ids, randomness.
    pub ambient: Ambient,
    /// Names this relay among others: host and process id. After a restart under the same name it takes up its own
    /// messages at once instead of waiting for their lease to end.
    pub name: String,
    /// How long to wait at most before looking again without having been woken.
    pub poll_interval: Duration,
    /// Told after each change between working and not working.
    pub health: watch::Sender<RelayHealth>,
}

/// Whether a relay is able to relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayHealth {
    /// When it last looked into the outbox and left nothing unpublished of what it took.
    pub last_success: Option<Timestamp>,
    /// What is wrong, in one line; `None` when nothing is.
    pub trouble: Option<String>,
    /// Messages sent since the start.
    pub messages_sent: u64,
    /// Jobs confirmed since the start.
    pub jobs_published: u64,
}

/// What one round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Round {
    messages: u64,
    jobs: u64,
}

impl Relay {
    /// A relay that polls each second when nobody wakes it.
    pub fn new(
        store: Arc<dyn OrderStore>,
        engine: Arc<dyn Engine>,
        ambient: Ambient,
        name: impl Into<String>,
    ) -> Self {
        let health = watch::Sender::new(RelayHealth::default());
        Self { store, engine, ambient, name: name.into(), poll_interval: Duration::from_secs(1), health }
    }

    /// Runs until `shutdown`; a batch under way is finished, unless the engine is down.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut arrivals = self.store.arrivals();
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            // Arm, then check, then wait: what arrives after this line fires `changed` below, so nothing falls
            // between the look into the outbox and the wait.
            arrivals.borrow_and_update();
            let pause = match self.round().await {
                Ok(round) => {
                    failures = 0;
                    self.report_success(round);
                    if round.messages > 0 {
                        continue;
                    }
                    self.poll_interval
                }
                Err(error) => {
                    failures += 1;
                    self.report_trouble(&error);
                    BACKOFF.delay(failures, &self.ambient)
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                // Not after a failure: arrivals must not undo the backoff. `Err` means the notifier is gone for good;
                // the branch is then disabled and polling goes on.
                Ok(()) = arrivals.changed(), if failures == 0 => {}
            }
        }
    }

    /// One batch: take, expand, publish with confirm, tell programs outside, mark sent.
    async fn round(&self) -> Result<Round, JobError> {
        let messages = self.store.claim(&self.name, BATCH_MAX, LEASE, self.ambient.now()).await?;
        if messages.is_empty() {
            return Ok(Round { messages: 0, jobs: 0 });
        }
        let mut subscribers = Subscribers::default();
        let mut waiting = Vec::new();
        let mut jobs = 0;
        for message in &messages {
            let endpoints = subscribers.of(self.store.as_ref(), message).await?;
            waiting.extend(expand(message, endpoints, &self.ambient)?);
            if waiting.len() >= PUBLISH_MAX {
                jobs += self.publish(&mut waiting).await?;
            }
        }
        jobs += self.publish(&mut waiting).await?;
        if self.engine.capabilities().announces {
            self.engine.publish_events(messages.iter().filter_map(event_of).collect()).await?;
        }
        let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
        self.store.mark_sent(&positions, self.ambient.now()).await?;
        Ok(Round { messages: u64::try_from(positions.len()).unwrap_or(u64::MAX), jobs })
    }

    /// Every answer of the engine means "it holds the job", so there is nothing to sort out.
    async fn publish(&self, waiting: &mut Vec<jobs::Envelope>) -> Result<u64, JobError> {
        if waiting.is_empty() {
            return Ok(0);
        }
        let answers = self.engine.publish(std::mem::take(waiting)).await?;
        Ok(u64::try_from(answers.len()).unwrap_or(u64::MAX))
    }

    fn report_success(&self, round: Round) {
        let now = self.ambient.now();
        self.health.send_modify(|health| {
            if health.trouble.take().is_some() {
                tracing::info!(relay = %self.name, "relay works again");
            }
            health.last_success = Some(now);
            health.messages_sent += round.messages;
            health.jobs_published += round.jobs;
        });
    }

    fn report_trouble(&self, error: &JobError) {
        let text = error.describe();
        self.health.send_modify(|health| {
            if health.trouble.is_none() {
                tracing::warn!(relay = %self.name, error = %text, "relay cannot work, will keep trying");
            }
            health.trouble = Some(text);
        });
    }
}

/// The event as merchants get it; commands concern nobody outside.
fn event_of(message: &OutboxMessage) -> Option<Event> {
    let OutboxBody::Event(event) = &message.body else { return None };
    Some(Event {
        id: event.id.to_string(),
        topic: event.kind.to_string(),
        source: event.merchant.to_string(),
        body: body_of(event),
        trace: event.trace,
    })
}

/// Who wants what, asked once per batch: thousands of events of a batch have few merchants.
#[derive(Default)]
struct Subscribers(HashMap<(MerchantId, EventKind), Vec<EndpointId>>);

impl Subscribers {
    async fn of(
        &mut self,
        store: &dyn OrderStore,
        message: &OutboxMessage,
    ) -> Result<&[EndpointId], JobError> {
        let OutboxBody::Event(event) = &message.body else { return Ok(&[]) };
        let key = (event.merchant, event.kind);
        Ok(match self.0.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(store.subscribers(event.merchant, event.kind).await?),
        })
    }
}
