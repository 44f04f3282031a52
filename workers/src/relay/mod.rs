//! Outbox relay: claims messages of the outbox and publishes their jobs.
//!
//! Guarantees: a message is marked sent only after the engine has confirmed all its jobs and the event itself, so a
//! crash leads to a second publish under the same ids; memory is bounded by one batch; a message that this release
//! cannot read or expand is set aside with an error log and tried again each minute: its subject waits, possibly for
//! the relay of another release, and all others go on; so is a message whose queue takes nothing while others do; while
//! an engine or a store is down the relay retries with growing, jittered pauses and logs each change once. Stopping in
//! the middle loses nothing. Several relays may run: the outbox never hands messages of one subject to two of them.
//!
//! Next: [`crate::subscriptions`] maps messages to jobs, `by_queue` tells which go on when a queue takes nothing.

mod batch;
mod by_queue;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{
    Ambient, Timestamp,
    time::{between, later},
};
use jobs::{
    Backoff, Envelope, JobError, Publish,
    engine::{EngineError, Event},
    error::describe,
    spans::PublishSpans,
};
use store::{
    OrderStore, StoreError,
    outbox::{OutboxBody, OutboxMessage},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    batch::{Aside, Batch, Subscribers},
    by_queue::{ByQueue, QueuesInTrouble},
};
use crate::{
    event_body::body_of,
    event_counts::EventCounts,
    mail_domain,
    subscriptions::{Recipients, expand_for},
};

pub const BATCH_MAX: u32 = 256;
/// Most jobs per publish call; a batch with many endpoints is published in several calls.
const PUBLISH_MAX: usize = 1024;
/// Lease of a batch: longer than publishing ever takes. After its end another relay may claim the messages.
const LEASE: Duration = Duration::from_secs(30);
/// Time after which no further queue is tried alone, so that a round ends within the lease of its batch.
const TRY_QUEUES_FOR: Duration = Duration::from_secs(15);
/// Time for which a message is set aside; longer than [`LEASE`], so that no relay still has later messages of its
/// subject when it is claimed again.
const ASIDE: Duration = Duration::from_mins(1);
const BACKOFF: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(100), cap: Duration::from_secs(10) };

pub struct Relay {
    /// The outbox and the endpoints of merchants.
    pub store: Arc<dyn OrderStore>,
    /// Engine that takes the jobs and, where it can, the events.
    pub engine: Arc<dyn Publish>,
    pub ambient: Ambient,
    /// Name of this relay: host and process id. After a restart under the same name it claims its own messages at once,
    /// without waiting for the end of their lease.
    pub name: String,
    /// Longest wait before the next look into the outbox when no arrival is signalled.
    pub poll_interval: Duration,
    /// Whether mails are limited by the domain of their recipient, so that their jobs have to name it.
    pub mail_domains: bool,
    /// Health, updated after every round.
    pub health: watch::Sender<RelayHealth>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayHealth {
    /// Time of the last round that published every claimed message.
    pub last_success: Option<Timestamp>,
    /// The last error, in one line; `None` while the relay works.
    pub trouble: Option<String>,
    /// Messages sent since the start.
    pub messages_sent: u64,
    /// Jobs confirmed since the start.
    pub jobs_published: u64,
    /// Times that a message was set aside since the start.
    pub set_aside: u64,
    /// Rounds that failed since the start.
    pub failures: u64,
    /// Of the messages sent, the events, by kind.
    pub events_sent: EventCounts,
}

impl RelayHealth {
    fn count(&mut self, round: Round) {
        self.messages_sent += round.sent as u64;
        self.jobs_published += round.jobs as u64;
        self.set_aside += round.set_aside as u64;
        self.events_sent.add_all(&round.events);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Round {
    claimed: usize,
    sent: usize,
    jobs: usize,
    set_aside: usize,
    events: EventCounts,
}

impl Relay {
    /// A relay that polls every second when no arrival is signalled.
    pub fn new(
        store: Arc<dyn OrderStore>,
        engine: Arc<dyn Publish>,
        ambient: Ambient,
        name: impl Into<String>,
    ) -> Self {
        let health = watch::Sender::new(RelayHealth::default());
        let (name, poll_interval) = (name.into(), Duration::from_secs(1));
        Self { store, engine, ambient, name, poll_interval, mail_domains: false, health }
    }

    /// Runs until `shutdown`; a batch in progress is finished, unless the engine is down.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut arrivals = self.store.arrivals();
        let (mut failures, mut in_trouble) = (0, QueuesInTrouble::default());
        while !shutdown.is_cancelled() {
            // Arm, then check, then wait: a message that arrives after this line fires `changed` below, so none is
            // missed between the round and the wait.
            arrivals.borrow_and_update();
            let pause = match self.round(&mut in_trouble).await {
                Ok(round) => {
                    failures = 0;
                    self.report_success(round);
                    if round.claimed > 0 {
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
                // Not after a failure: arrivals must not shorten the backoff. `Err` means that the notifier is gone;
                // the branch is then disabled and polling continues.
                Ok(()) = arrivals.changed(), if failures == 0 => {}
            }
        }
    }

    /// One batch: claim, expand, publish with confirm, publish the events, mark sent, set aside.
    async fn round(&self, in_trouble: &mut QueuesInTrouble) -> Result<Round, JobError> {
        let messages = self.store.claim(&self.name, BATCH_MAX, LEASE, self.ambient.now()).await?;
        if messages.is_empty() {
            return Ok(Round::default());
        }
        let mut batch = Batch { good: messages.iter().collect(), ..Batch::default() };
        let mut trouble = None;
        match self.publish_jobs(&mut batch).await? {
            Ok(()) => in_trouble.clear(),
            Err(error) => trouble = self.publish_by_queue(&mut batch, in_trouble, error).await?,
        }
        if self.engine.capabilities().publishes_events {
            self.engine.publish_events(batch.good.iter().copied().filter_map(event_of).collect()).await?;
        }
        let sent: Vec<_> = batch.good.iter().map(|message| message.position).collect();
        self.store.mark_sent(&sent, self.ambient.now()).await?;
        self.set_aside(&batch.aside).await?;
        let set_aside = batch.aside.positions.len();
        let (claimed, sent, events) = (messages.len(), sent.len(), events_of(&batch.good));
        let round = Round { claimed, sent, jobs: batch.jobs, set_aside, events };
        match trouble {
            Some(error) => {
                self.health.send_modify(|health| health.count(round));
                Err(error.into())
            }
            None => Ok(round),
        }
    }

    /// Publishes the jobs of all messages that can be expanded, and takes the others out of the batch. The inner error
    /// is the engine's; some jobs may be published then.
    async fn publish_jobs(&self, batch: &mut Batch<'_>) -> Result<Result<(), EngineError>, JobError> {
        let mut waiting = Vec::new();
        for message in std::mem::take(&mut batch.good) {
            if batch.aside.subjects.contains(message.subject.as_str()) {
                continue;
            }
            match self.jobs_of(message, &mut batch.subscribers).await? {
                Ok(jobs) => {
                    waiting.extend(jobs);
                    batch.good.push(message);
                }
                Err(error) => batch.aside.add(message, &error),
            }
            if waiting.len() >= PUBLISH_MAX
                && let Err(error) = self.publish(&mut waiting, &mut batch.jobs).await
            {
                return Ok(Err(error));
            }
        }
        Ok(self.publish(&mut waiting, &mut batch.jobs).await)
    }

    /// Publishes the jobs of the batch again, those of each queue alone, and leaves in it the messages whose jobs are
    /// all confirmed. Returns the error of one of the queues that took nothing, if any.
    ///
    /// # Errors
    /// When all queues fail, this is the error.
    async fn publish_by_queue(
        &self,
        batch: &mut Batch<'_>,
        in_trouble: &mut QueuesInTrouble,
        error: EngineError,
    ) -> Result<Option<EngineError>, JobError> {
        let (began, mut by_queue) = (self.ambient.now(), ByQueue::default());
        for message in &batch.good {
            // What cannot be expanded has been taken out.
            by_queue.add(self.jobs_of(message, &mut batch.subscribers).await?.unwrap_or_default());
        }
        let (queues, mut failed) = (std::mem::take(&mut by_queue.jobs), BTreeMap::new());
        let tried = queues.len();
        batch.jobs = 0;
        for (queue, jobs) in queues {
            if between(began, self.ambient.now()) > TRY_QUEUES_FOR {
                failed.insert(queue, EngineError::Closed);
            } else if let Err(error) = self.publish_chunks(jobs, &mut batch.jobs).await {
                failed.insert(queue, error);
            }
        }
        if failed.len() == tried {
            return Err(error.into());
        }
        in_trouble.hold(batch, &by_queue, &failed);
        Ok(failed.into_values().next())
    }

    async fn publish_chunks(&self, jobs: Vec<Envelope>, confirmed: &mut usize) -> Result<(), EngineError> {
        let mut jobs = jobs.into_iter().peekable();
        while jobs.peek().is_some() {
            self.publish(&mut jobs.by_ref().take(PUBLISH_MAX).collect(), confirmed).await?;
        }
        Ok(())
    }

    /// The jobs of a message; the inner error is about the message itself and not about the store.
    async fn jobs_of(
        &self,
        message: &OutboxMessage,
        subscribers: &mut Subscribers,
    ) -> Result<Result<Vec<Envelope>, String>, JobError> {
        match self.expanded(&message.body, subscribers).await {
            Err(error @ StoreError::Corrupt { .. }) => Ok(Err(describe(&error))),
            Err(error) => Err(error.into()),
            Ok(jobs) => Ok(jobs.map_err(|error| describe(&error))),
        }
    }

    async fn expanded(
        &self,
        body: &OutboxBody,
        subscribers: &mut Subscribers,
    ) -> Result<Result<Vec<Envelope>, EngineError>, StoreError> {
        let store = self.store.as_ref();
        let domain = if self.mail_domains { mail_domain::of_message(store, body).await? } else { None };
        let subscribers = subscribers.of(store, body).await?;
        let recipients = Recipients { subscribers, mail_domain: domain.as_deref() };
        Ok(expand_for(body, recipients, &self.ambient))
    }

    async fn set_aside(&self, aside: &Aside<'_>) -> Result<(), JobError> {
        let Some(error) = &aside.first_error else { return Ok(()) };
        self.store.set_aside(&aside.positions, later(self.ambient.now(), ASIDE)).await?;
        let messages = aside.positions.len();
        tracing::error!(alarm = true, relay = %self.name, messages, error, "outbox messages set aside");
        Ok(())
    }

    /// Publishes and clears `waiting`. Every `Ok` of the engine means that it holds the job, so the answers are only
    /// counted.
    async fn publish(&self, waiting: &mut Vec<Envelope>, jobs: &mut usize) -> Result<(), EngineError> {
        if !waiting.is_empty() {
            let spans = PublishSpans::begin(waiting, self.engine.name());
            *jobs += spans.end(self.engine.publish(std::mem::take(waiting)).await)?.len();
        }
        Ok(())
    }

    fn report_success(&self, round: Round) {
        let now = self.ambient.now();
        self.health.send_modify(|health| {
            if health.trouble.take().is_some() {
                tracing::info!(relay = %self.name, "relay recovered");
            }
            health.last_success = Some(now);
            health.count(round);
        });
    }

    fn report_trouble(&self, error: &JobError) {
        let text = error.describe();
        self.health.send_modify(|health| {
            if health.trouble.is_none() {
                tracing::warn!(relay = %self.name, error = %text, "relay failing, will retry");
            }
            health.trouble = Some(text);
            health.failures += 1;
        });
    }
}

fn events_of(messages: &[&OutboxMessage]) -> EventCounts {
    let mut counts = EventCounts::default();
    for message in messages {
        if let OutboxBody::Event(event) = &message.body {
            counts.add(event.kind);
        }
    }
    counts
}

/// The event as merchants get it; `None` for commands, which are internal.
fn event_of(message: &OutboxMessage) -> Option<Event> {
    let OutboxBody::Event(event) = &message.body else { return None };
    Some(Event {
        id: event.id.to_string(),
        topic: event.kind.to_string(),
        source: event.merchant.to_string(),
        body: body_of(event),
        trace: event.trace.clone(),
    })
}
