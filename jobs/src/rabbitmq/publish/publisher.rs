//! The publisher: publishing with confirms for all callers of an engine handle, over one connection.
//!
//! Guarantees: `Ok` means that the broker confirmed every message and returned none. A missing confirm is an unknown
//! outcome: the message is published again under the same id while the caller waits. Never hangs: without a connection,
//! or with one that the broker has blocked, callers get an error within [`PATIENCE`].
//!
//! One task owns the connection, so that all callers share one window of unconfirmed messages, a batch stays in order
//! on one channel, and confirms are handled in the order of their arrival (see [`super::pipeline`]).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::{Ambient, ErrorClass};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout_at},
};

use super::pipeline;
use crate::{
    engine::EngineError,
    rabbitmq::wire::{
        connect::Address,
        fault::{ENGINE, unavailable},
        message::Raw,
        topology::EVENTS_EXCHANGE,
    },
};

/// Longest wait of a caller for a connection that is being opened.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for the confirms of one batch, messages published again included; a batch that keeps making progress
/// may take longer.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(8);
/// Batches queued for the task; beyond that callers wait (back-pressure).
const QUEUE_MAX: usize = 1024;

/// A message with its destination.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) raw: Raw,
}

impl Outgoing {
    /// Whether an unroutable message is an error: a job would be lost, an event may have no consumer.
    pub(super) fn is_mandatory(&self) -> bool {
        self.exchange != EVENTS_EXCHANGE
    }
}

/// Detail of the state before the first connection.
pub(super) const NOT_CONNECTED: &str = "not connected yet";

/// State of the connection.
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

    fn error(self) -> EngineError {
        EngineError::new(self.class, ENGINE, self.detail)
    }
}

/// Reason for which one message was not confirmed.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The connection ended, or there was none.
    Unknown(PublishTrouble),
    /// No queue is bound for it.
    Returned(String),
    /// The queue rejected it.
    Nacked,
    Blocked,
}

/// Messages published together.
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
    pub(super) fn settle(mut self, outcome: Result<(), Failure>) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Result<(), Failure>) {
        self.settled = true;
        if let Err(failure) = outcome {
            self.batch.failures.lock().unwrap_or_else(PoisonError::into_inner).push((self.index, failure));
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
    fn new(messages: Vec<Outgoing>) -> Arc<Self> {
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
    async fn outcomes(&self) -> Result<Vec<(usize, Failure)>, EngineError> {
        let mut left = self.left();
        while left > 0 {
            let waited = timeout_at(Instant::now() + CONFIRM_TIMEOUT, self.done.notified()).await;
            let now_left = self.left();
            if waited.is_err() && now_left == left {
                return Err(unavailable(format!("{left} messages were not confirmed in time")));
            }
            left = now_left;
        }
        Ok(std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The callers' side of the publishing task.
pub(crate) struct Publisher {
    batches: mpsc::Sender<Arc<Batch>>,
    state: watch::Receiver<PublisherState>,
}

impl Publisher {
    /// Starts the task, which ends when the publisher is dropped.
    pub(crate) fn start(address: Address, name: String, ambient: Ambient) -> Self {
        let (batches, queue) = mpsc::channel(QUEUE_MAX);
        let (to_callers, state) =
            watch::channel(PublisherState::Down(PublishTrouble::unavailable(NOT_CONNECTED)));
        tokio::spawn(pipeline::run(address, name, ambient, queue, to_callers));
        Self { batches, state }
    }

    /// Publishes all messages in order and waits for their confirms.
    pub(crate) async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), EngineError> {
        if messages.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + CONFIRM_TIMEOUT;
        let mut batch = Batch::new(messages);
        loop {
            self.wait_until_up().await?;
            if self.batches.send(batch.clone()).await.is_err() {
                return Err(EngineError::Closed);
            }
            let failures = batch.outcomes().await?;
            let Some(result) = publish_result(&failures, &batch) else { return Ok(()) };
            result?;
            if Instant::now() >= deadline {
                let why = failures.into_iter().find_map(|(_, failure)| match failure {
                    Failure::Unknown(why) => Some(why),
                    _ => None,
                });
                return Err(why.unwrap_or_else(|| PublishTrouble::unavailable("no confirm in time")).error());
            }
            batch = Batch::new(failures.iter().map(|(index, _)| batch.messages[*index].clone()).collect());
        }
    }

    /// Reason for which messages cannot be published now; `None` when they can.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &*self.state.borrow() {
            PublisherState::Up => None,
            PublisherState::Blocked => Some("blocked by the broker: out of memory or disk".to_owned()),
            PublisherState::Down(trouble) => Some(trouble.detail.clone()),
            PublisherState::Denied(why) => Some(why.clone()),
        }
    }

    async fn wait_until_up(&self) -> Result<(), EngineError> {
        let mut state = self.state.clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match state.borrow_and_update().clone() {
                PublisherState::Up => return Ok(()),
                PublisherState::Denied(detail) => return Err(EngineError::Denied { engine: ENGINE, detail }),
                PublisherState::Blocked => return Err(blocked()),
                PublisherState::Down(trouble) if Instant::now() >= deadline => return Err(trouble.error()),
                PublisherState::Down(_) => {}
            }
            if matches!(timeout_at(deadline, state.changed()).await, Ok(Err(_))) {
                return Err(EngineError::Closed);
            }
        }
    }
}

fn blocked() -> EngineError {
    unavailable("publishing blocked by the broker: out of memory or disk")
}

/// Result of a batch: `None` when all messages were confirmed, `Ok` when publishing again makes sense.
fn publish_result(failures: &[(usize, Failure)], batch: &Batch) -> Option<Result<(), EngineError>> {
    let worst = failures.iter().max_by_key(|(_, failure)| match failure {
        Failure::Unknown(trouble) if trouble.class.is_transient() => 0,
        Failure::Blocked => 1,
        Failure::Nacked => 2,
        Failure::Returned(_) => 3,
        Failure::Unknown(_) => 4,
    });
    worst.map(|(index, failure)| match failure {
        Failure::Unknown(trouble) if trouble.class.is_transient() => Ok(()),
        Failure::Unknown(trouble) => Err(trouble.clone().error()),
        Failure::Blocked => Err(blocked()),
        Failure::Nacked => {
            Err(unavailable("the broker rejected a message: a queue is full or has lost its quorum"))
        }
        Failure::Returned(why) => {
            let message = &batch.messages[*index];
            Err(unavailable(format!(
                "no queue bound to exchange `{}` with routing key `{}` ({why})",
                message.exchange, message.routing_key
            )))
        }
    })
}
