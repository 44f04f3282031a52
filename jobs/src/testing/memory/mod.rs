//! An in-memory engine. **For tests only: it stores nothing**, so a published job is not durable.
//!
//! Otherwise it fulfils the whole contract of [`crate::Engine`], with all of [`Capabilities::FULL`] but `fair_share`,
//! `order_keys` and `isolates_suspects`: delays, priorities, dead letters, cancellation, pauses, unique and concurrency
//! keys. A consumer is lost when its settler is dropped without being closed; leases never expire before that, as a
//! consumer in the same process cannot fall silent. Read on in `state` (life of a job) and `consumer` (delivery).

mod consumer;
mod queue;
mod state;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Ambient, Timestamp};

use self::{queue::MemoryQueue, state::MemoryState};
use crate::{
    engine::{
        Admin, Alteration, Cancelled, Capabilities, Consume, ConsumeOptions, Consumer, ConsumerInfo,
        DeadFilter, Depth, EngineError, EngineInfo, InspectedJob, JobFilter, Publish, Published, QueueSpec,
    },
    envelope::{Envelope, JobId},
};

/// The engine; clones share one set of jobs.
#[derive(Clone)]
pub struct MemoryEngine {
    inner: Arc<MemoryQueue>,
}

impl MemoryEngine {
    /// An empty engine with this clock; with [`super::virtual_time`] delays pass as fast as the test runs.
    pub fn new(ambient: Ambient) -> Self {
        Self { inner: Arc::new(MemoryQueue::new(ambient)) }
    }

    /// Checks delayed jobs again; needed only after moving a manual clock.
    pub fn nudge(&self) {
        self.inner.changed.notify_waiters();
    }

    /// Closes the engine for good: consumers end, calls return [`EngineError::Closed`].
    pub fn close(&self) {
        self.inner.change(|state, _| state.closed = true);
    }

    /// Waits until a job (`None` once the engine no longer holds it) fulfils `wanted`, and returns it.
    pub async fn when(
        &self,
        id: JobId,
        wanted: impl Fn(Option<&InspectedJob>) -> bool,
    ) -> Option<InspectedJob> {
        loop {
            let mut changed = std::pin::pin!(self.inner.changed.notified());
            // Armed before the read, so that no change in between is missed.
            changed.as_mut().enable();
            let held = self.inner.look(|state| state.find(id));
            if wanted(held.as_ref()) {
                return held;
            }
            changed.await;
        }
    }

    fn open<T>(
        &self,
        act: impl FnOnce(&mut MemoryState, Timestamp) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.inner.change(|state, now| if state.closed { Err(EngineError::Closed) } else { act(state, now) })
    }
}

impl EngineInfo for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { fair_share: false, order_keys: false, isolates_suspects: false, ..Capabilities::FULL }
    }
}

#[async_trait]
impl Publish for MemoryEngine {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        self.open(|state, now| {
            for envelope in &envelopes {
                state.require(&envelope.queue)?;
                envelope.check_payload()?;
                envelope.refuse_order_key()?;
            }
            Ok(envelopes.into_iter().map(|envelope| state.publish(envelope, now)).collect())
        })
    }
}

#[async_trait]
impl Consume for MemoryEngine {
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        self.open(|state, _| {
            for queue in queues {
                state.declare(&queue.name);
            }
            Ok(())
        })
    }

    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError> {
        let session = self.open(|state, _| state.subscribe(options.name, queue, options.prefetch))?;
        Ok(consumer::start(Arc::clone(&self.inner), session, options.prefetch))
    }
}

#[async_trait]
impl Admin for MemoryEngine {
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        self.open(|state, now| state.depth(queue, now))
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        self.open(|state, _| Ok(state.queues()))
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        self.open(|state, now| Ok(state.consumers(now)))
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), EngineError> {
        self.open(|state, _| state.set_paused(queue, paused))
    }

    async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.open(|state, _| state.purge(queue))
    }

    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        self.open(|state, _| Ok(state.cancel(id, reason)))
    }

    async fn retry_now(&self, id: JobId) -> Result<bool, EngineError> {
        self.open(|state, now| state.retry_now(id, now))
    }

    async fn alter(&self, id: JobId, alteration: Alteration) -> Result<bool, EngineError> {
        self.open(|state, now| state.alter(id, alteration, now))
    }

    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        self.open(|state, now| Ok(state.list(filter, now)))
    }

    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        self.open(|state, _| Ok(state.find(id)))
    }

    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        self.open(|state, now| Ok(state.redrive(filter, now)))
    }

    async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, EngineError> {
        self.open(|state, _| Ok(state.drop_dead(filter)))
    }
}
