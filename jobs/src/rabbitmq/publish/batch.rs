//! Batches of messages in flight, and the state of their connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::ErrorClass;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    engine::EngineError,
    rabbitmq::wire::{
        fault::{ENGINE, unavailable},
        message::Raw,
        topology::{EVENTS_EXCHANGE, job_queue_of},
    },
};

/// Longest wait for the confirms of one batch, messages published again included; a batch that keeps making progress
/// may take longer.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(8);

/// An exchange by which messages are published, or a job queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Exchange(String),
    Queue(String),
}

/// A message with its destination.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) raw: Raw,
}

impl Outgoing {
    /// A message for one queue, by the default exchange.
    pub(crate) fn to_queue(queue: String, raw: Raw) -> Self {
        Self { exchange: String::new(), routing_key: queue, raw }
    }

    /// Whether it goes to a named exchange, which may be missing, not straight to a queue.
    pub(super) fn is_by_exchange(&self) -> bool {
        !self.exchange.is_empty()
    }

    /// Whether an unroutable message is an error: a job would be lost, an event may have no consumer.
    pub(super) fn is_mandatory(&self) -> bool {
        self.exchange != EVENTS_EXCHANGE
    }

    /// What has to be declared for it: its exchange, or else its job queue.
    pub(super) fn target(&self) -> Target {
        if self.is_by_exchange() {
            Target::Exchange(self.exchange.clone())
        } else {
            Target::Queue(job_queue_of(&self.routing_key).to_owned())
        }
    }
}

/// Detail of the state before the first connection.
pub(super) const NOT_CONNECTED: &str = "not connected yet";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublisherState {
    Up,
    /// The broker is out of memory or disk and does not read from this connection.
    Blocked,
    Down(PublishTrouble),
    /// The server rejects this configuration for good.
    Denied(String),
}

/// Reason for which messages cannot be published, with its error class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublishTrouble {
    pub(super) class: ErrorClass,
    pub(super) detail: String,
}

impl PublishTrouble {
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self { class: ErrorClass::Unavailable, detail: detail.into() }
    }

    pub(super) fn error(self) -> EngineError {
        EngineError::new(self.class, ENGINE, self.detail)
    }
}

/// Reason for which one message was not confirmed.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The connection ended: the message may be stored.
    Unknown(PublishTrouble),
    /// There was no connection to send it.
    NotSent(PublishTrouble),
    /// No queue took it.
    Missing,
    /// An exchange does not exist, which ended the channel: the message may be stored if it is not its own, or was not
    /// missing yet.
    NoExchange,
    /// The queue rejected it.
    Rejected,
    Blocked,
}

impl Failure {
    /// Whether it is certain that the message is not stored.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Missing | Self::Rejected)
    }
}

pub(super) struct Batch {
    pub(super) messages: Vec<Outgoing>,
    left: AtomicUsize,
    failures: Mutex<Vec<(usize, Failure)>>,
    done: Notify,
}

/// One message of a batch in flight. Dropped unsettled, its outcome is unknown.
pub(super) struct Ticket {
    pub(super) batch: Arc<Batch>,
    pub(super) index: usize,
    settled: bool,
}

impl Ticket {
    pub(super) fn message(&self) -> &Outgoing {
        &self.batch.messages[self.index]
    }

    pub(super) fn settle(mut self, outcome: Result<(), Failure>) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Result<(), Failure>) {
        self.settled = true;
        if let Err(failure) = outcome {
            self.batch.failures.lock().push((self.index, failure));
        }
        if self.batch.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.batch.done.notify_one();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.finish(Err(Failure::Unknown(PublishTrouble::unavailable("the connection ended"))));
        }
    }
}

impl Batch {
    pub(super) fn new(messages: Vec<Outgoing>) -> Arc<Self> {
        let left = AtomicUsize::new(messages.len());
        Arc::new(Self { messages, left, failures: Mutex::default(), done: Notify::new() })
    }

    pub(super) fn tickets(batch: &Arc<Self>) -> impl Iterator<Item = Ticket> {
        let batch = batch.clone();
        (0..batch.messages.len()).map(move |index| Ticket { batch: batch.clone(), index, settled: false })
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }

    /// Waits for all outcomes, as long as some arrive within each timeout.
    pub(super) async fn outcomes(&self) -> Result<Vec<(usize, Failure)>, EngineError> {
        let mut left = self.left();
        while left > 0 {
            let waited = timeout_at(Instant::now() + CONFIRM_TIMEOUT, self.done.notified()).await;
            let now_left = self.left();
            if waited.is_err() && now_left == left {
                return Err(unavailable(format!("{left} messages were not confirmed in time")));
            }
            left = now_left;
        }
        Ok(std::mem::take(&mut *self.failures.lock()))
    }
}
