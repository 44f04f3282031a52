//! Publishing with confirms, for all callers of an engine handle over one connection.
//!
//! Guarantees: `Ok` means that the broker confirmed every message and returned none. A confirm that does not come is
//! an unknown outcome: the message is published again under the same id while the caller waits. Never hangs: without
//! a connection, or with one the broker has blocked, callers are told within [`PATIENCE`].
//!
//! One task owns the connection, so that all callers share one window of unconfirmed messages, a batch stays in
//! order on one channel, and every confirm is looked at in the order it came (see [`super::pipeline`]).

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

use super::{
    connect::Address,
    fault::{ENGINE, unavailable},
    message::Raw,
    pipeline,
    topology::EVENTS_EXCHANGE,
};
use crate::engine::EngineError;

/// How long a caller waits for a connection that is just being made anew.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for the confirms of one batch, unknown outcomes published again included; a batch that keeps making
/// progress may take longer.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(8);
/// Batches that wait for the task before callers wait too.
const QUEUE_MAX: usize = 1024;

/// A message on its way out.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) raw: Raw,
}

impl Outgoing {
    /// Whether it is an error when no queue takes it: a job would be lost, news may have no listener.
    pub(super) fn is_mandatory(&self) -> bool {
        self.exchange != EVENTS_EXCHANGE
    }
}

/// The state before the first connection.
pub(super) const NOT_CONNECTED: &str = "not connected yet";

/// Whether messages can be published now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublisherState {
    Up,
    /// The broker is out of memory or disk and reads nothing from us.
    Blocked,
    Down(PublishTrouble),
    /// The server turns us away for good.
    Denied(String),
}

/// Why messages cannot be published, and what follows from it.
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

/// Why one message was not confirmed.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The connection ended, or was not there.
    Unknown(PublishTrouble),
    /// No queue takes it.
    Returned(String),
    /// The queue refused it.
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

/// One message of a batch under way. Dropped unsettled, its outcome is unknown.
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

    /// Waits for all outcomes, for as long as some come within the timeout.
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

/// The callers' end.
pub(super) struct Publisher {
    batches: mpsc::Sender<Arc<Batch>>,
    state: watch::Receiver<PublisherState>,
}

impl Publisher {
    /// Starts the task, which ends when the publisher is dropped.
    pub(super) fn start(address: Address, name: String, ambient: Ambient) -> Self {
        let (batches, queue) = mpsc::channel(QUEUE_MAX);
        let (to_callers, state) =
            watch::channel(PublisherState::Down(PublishTrouble::unavailable(NOT_CONNECTED)));
        tokio::spawn(pipeline::run(address, name, ambient, queue, to_callers));
        Self { batches, state }
    }

    /// Publishes all messages in order and waits for their confirms.
    pub(super) async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), EngineError> {
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
            let Some(verdict) = publish_result(&failures, &batch) else { return Ok(()) };
            verdict?;
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

    /// What keeps messages from being published; `None` when nothing does.
    pub(super) fn trouble(&self) -> Option<String> {
        match &*self.state.borrow() {
            PublisherState::Up => None,
            PublisherState::Blocked => Some("blocked by the broker: it is out of memory or disk".to_owned()),
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
    unavailable("the broker accepts no messages: it is out of memory or disk")
}

/// `None` when all went well, `Ok` when publishing again makes sense.
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
            Err(unavailable("the broker refused a message: a queue is full or has lost its quorum"))
        }
        Failure::Returned(why) => {
            let message = &batch.messages[*index];
            Err(unavailable(format!(
                "`{}` with key `{}` leads to no queue ({why}): was it deleted?",
                message.exchange, message.routing_key
            )))
        }
    })
}
