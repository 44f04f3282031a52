//! The publisher: publishing with confirms for all callers of an engine handle, over one connection.
//!
//! Guarantees: `Ok` means that the broker confirmed every message and returned none. A missing confirm is an unknown
//! outcome: the message is published again under the same id while the caller waits. Never hangs: without a connection,
//! or with one that the broker has blocked, callers get an error within [`PATIENCE`].
//!
//! One task owns the connection, so that all callers share one window of unconfirmed messages, a batch stays in order
//! on one channel, and confirms are handled in the order of their arrival (see [`super::pipeline`]).

use std::{sync::Arc, time::Duration};

use base::Ambient;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::{
    batch::{Batch, CONFIRM_TIMEOUT, Failure, NOT_CONNECTED, Outgoing, PublishTrouble, PublisherState},
    pipeline,
};
use crate::{
    engine::EngineError,
    rabbitmq::wire::{
        connect::Address,
        fault::{ENGINE, unavailable},
    },
};

/// Longest wait of a caller for a connection that is being opened.
const PATIENCE: Duration = Duration::from_secs(2);
/// Batches queued for the task; beyond that callers wait (back-pressure).
const QUEUE_MAX: usize = 1024;

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
fn publish_result(failures: &[(usize, Failure)], batch: &Batch) -> Option<Result<(), EngineError>> {
    let worst = failures.iter().max_by_key(|(_, failure)| match failure {
        Failure::Unknown(trouble) if trouble.class.is_transient() => 0,
        Failure::Blocked => 1,
        Failure::Nacked => 2,
        Failure::Returned => 3,
        Failure::Unknown(_) => 4,
    });
    worst.map(|(index, failure)| match failure {
        Failure::Unknown(trouble) if trouble.class.is_transient() => Ok(()),
        Failure::Unknown(trouble) => Err(trouble.clone().error()),
        Failure::Blocked => Err(blocked()),
        Failure::Nacked => {
            Err(unavailable("the broker rejected a message: a queue is full or has lost its quorum"))
        }
        Failure::Returned => {
            let Outgoing { exchange, routing_key: key, .. } = &batch.messages[*index];
            let why = format!("no queue bound to exchange `{exchange}` with routing key `{key}`");
            Err(unavailable(format!("{why} (returned as unroutable)")))
        }
    })
}
