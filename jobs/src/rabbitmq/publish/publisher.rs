//! The publisher: publishing with confirms for all callers of an engine handle, over one connection.
//!
//! Guarantees: `Ok` means that the broker confirmed every message and returned none. A missing confirm is an unknown
//! outcome: the message is published again under the same id while the caller waits. So is a message whose queue or
//! exchange is missing, after these were declared again; other callers do not notice. Never hangs: without a
//! connection, or with one that the broker has blocked, callers get an error within [`PATIENCE`].
//!
//! One task owns the connection, so that all callers share one window of unconfirmed messages, a batch stays in order
//! on one channel, and a returned message is told from its neighbours (see [`super::in_flight`]).

use std::{sync::Arc, time::Duration};

use base::Ambient;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::{
    batch::{Batch, CONFIRM_TIMEOUT, Failure, NOT_CONNECTED, Outgoing, PublishTrouble, PublisherState},
    pipeline,
    restorer::Restorer,
};
use crate::{
    engine::EngineError,
    rabbitmq::wire::{
        connect::{Address, AdminConnection},
        fault::{ENGINE, unavailable},
    },
};

/// Longest wait of a caller for a connection that is being opened.
const PATIENCE: Duration = Duration::from_secs(2);
/// Batches queued for the task; beyond that callers wait (back-pressure).
const QUEUE_MAX: usize = 1024;
/// Times a batch is sent of which messages may be stored while their connection ends each time: one of them may be what
/// the broker ends it for, and each time leaves another copy of all others.
const SENT_UNKNOWN_MAX: u32 = 3;

/// An error of publishing.
pub(crate) struct NotPublished {
    pub(crate) error: EngineError,
    /// Whether one of the messages may be stored. If not, none is.
    pub(crate) may_be_stored: bool,
}

/// The callers' side of the publishing task.
pub(crate) struct Publisher {
    batches: mpsc::Sender<Arc<Batch>>,
    state: watch::Receiver<PublisherState>,
    restorer: Restorer,
}

impl Publisher {
    /// Starts the task, which ends when the publisher is dropped.
    pub(crate) fn start(
        address: Address,
        name: String,
        ambient: Ambient,
        admin: Arc<AdminConnection>,
    ) -> Self {
        let (batches, queue) = mpsc::channel(QUEUE_MAX);
        let (to_callers, state) =
            watch::channel(PublisherState::Down(PublishTrouble::unavailable(NOT_CONNECTED)));
        tokio::spawn(pipeline::run(address, name, ambient, queue, to_callers));
        Self { batches, state, restorer: Restorer::new(admin) }
    }

    /// Publishes all messages in order and waits for their confirms. Those whose queue or exchange is missing are
    /// published again after it was declared.
    pub(crate) async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), EngineError> {
        self.try_publish(messages).await.map_err(|failed| failed.error)
    }

    /// The same; an error says whether one of the messages may be stored.
    pub(crate) async fn try_publish(&self, messages: Vec<Outgoing>) -> Result<(), NotPublished> {
        let mut may_be_stored = false;
        let published = self.publish_restoring(messages, &mut may_be_stored).await;
        published.map_err(|error| NotPublished { error, may_be_stored })
    }

    async fn publish_restoring(
        &self,
        messages: Vec<Outgoing>,
        may_be_stored: &mut bool,
    ) -> Result<(), EngineError> {
        if messages.is_empty() {
            return Ok(());
        }
        // First, so that callers do not queue for a connection that cannot be opened.
        self.wait_until_up().await?;
        self.restorer.declare_exchanges(&messages).await?;
        let began = Instant::now();
        let missing = self.publish_existing(messages, may_be_stored).await?;
        if missing.is_empty() {
            return Ok(());
        }
        self.restorer.restore(&missing, began).await?;
        match self.publish_existing(missing, may_be_stored).await?.first() {
            None => Ok(()),
            Some(Outgoing { exchange, routing_key: key, .. }) => {
                let why = format!("no queue bound to exchange `{exchange}` with routing key `{key}`");
                Err(unavailable(format!("{why} (returned as unroutable)")))
            }
        }
    }

    /// Publishes all messages and returns those whose queue or exchange is missing; all others are confirmed.
    async fn publish_existing(
        &self,
        messages: Vec<Outgoing>,
        may_be_stored: &mut bool,
    ) -> Result<Vec<Outgoing>, EngineError> {
        let mut missing = Vec::new();
        let (deadline, mut sent_unknown) = (Instant::now() + CONFIRM_TIMEOUT, 0);
        let mut batch = Batch::new(messages);
        loop {
            self.wait_until_up().await?;
            if self.batches.send(batch.clone()).await.is_err() {
                return Err(EngineError::Closed);
            }
            let before = std::mem::replace(may_be_stored, true);
            let mut failures = batch.outcomes().await?;
            let none_stored = failures.len() == batch.messages.len()
                && failures.iter().all(|(_, failure)| failure.is_certain());
            *may_be_stored = before || !none_stored;
            failures.sort_unstable_by_key(|(index, _)| *index);
            let (gone, failures): (Vec<_>, Vec<_>) = failures
                .into_iter()
                .partition(|(_, failure)| matches!(failure, Failure::Missing | Failure::NoExchange));
            missing.extend(gone.iter().map(|(index, _)| batch.messages[*index].clone()));
            let Some(result) = publish_result(&failures) else { return Ok(missing) };
            result?;
            sent_unknown +=
                u32::from(failures.iter().any(|(_, failure)| matches!(failure, Failure::Unknown(_))));
            if Instant::now() >= deadline || sent_unknown >= SENT_UNKNOWN_MAX {
                let why = failures.into_iter().find_map(|(_, failure)| match failure {
                    Failure::Unknown(why) | Failure::NotSent(why) => Some(why),
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

    /// Waits for the connection, for [`PATIENCE`] at most.
    pub(crate) async fn wait_until_up(&self) -> Result<(), EngineError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, PublisherState::Down(_)));
        if matches!(timeout(PATIENCE, settled).await, Ok(Err(_))) {
            return Err(EngineError::Closed);
        }
        let now = self.state.borrow().clone();
        match now {
            PublisherState::Up => Ok(()),
            PublisherState::Denied(detail) => Err(EngineError::Denied { engine: ENGINE, detail }),
            PublisherState::Blocked => Err(blocked()),
            PublisherState::Down(trouble) => Err(trouble.error()),
        }
    }
}

fn blocked() -> EngineError {
    unavailable("publishing blocked by the broker: out of memory or disk")
}

/// Result of a batch: `None` when all messages were confirmed, `Ok` when publishing again makes sense.
fn publish_result(failures: &[(usize, Failure)]) -> Option<Result<(), EngineError>> {
    let worst = failures.iter().max_by_key(|(_, failure)| match failure {
        Failure::Missing | Failure::NoExchange => 0,
        Failure::Unknown(trouble) | Failure::NotSent(trouble) if trouble.class.is_transient() => 1,
        Failure::Blocked => 2,
        Failure::Rejected => 3,
        Failure::Unknown(_) | Failure::NotSent(_) => 4,
    });
    worst.map(|(_, failure)| match failure {
        Failure::Missing | Failure::NoExchange => Ok(()),
        Failure::Unknown(trouble) | Failure::NotSent(trouble) if trouble.class.is_transient() => Ok(()),
        Failure::Unknown(trouble) | Failure::NotSent(trouble) => Err(trouble.clone().error()),
        Failure::Blocked => Err(blocked()),
        Failure::Rejected => {
            Err(unavailable("the broker rejected a message: a queue is full or has lost its quorum"))
        }
    })
}
