//! The engine of the distributed mode: quorum queues of `RabbitMQ` 3.10 or later, and a relational job store beside
//! them for state that a broker cannot keep.
//!
//! Guarantees the whole of [`crate::engine`] except for the flags below: a published job is confirmed by a majority, a
//! settled one is acknowledged only after its settlement is durable, and a consumer that loses
//! its connection or a channel ends, for its worker to start the next one. A plain job touches the broker only. A broker of a single node does not replicate: then a
//! confirmed job survives a restart, no more.
//!
//! # Capabilities, and why
//! - `strict_priority: false`. One queue per priority; deliveries already sent to a consumer are not withdrawn when one
//!   of higher priority arrives. Of the deliveries a consumer holds, the highest priority is dispatched first.
//! - `dedupes_ids: false`. The broker keeps no index of ids, and a lookup in a store would be on the hot path.
//!   Publishing an id twice runs it twice; handlers are idempotent by it.
//! - `lists_ready: false`, `cancels_ready: false`. A queue cannot be searched. A cancel request is kept in the job
//!   store and takes effect when its job is delivered; hence the result for an unknown id is `Requested`, too.
//! - `fifo: true`. One batch uses one channel; a job released while its consumer continues keeps its position. A job
//!   released by `close` goes to the end of its queue.
//! - `concurrency_keys: false`. Keys hold within one engine handle, over all its queues.
//!
//! # Rooms
//! - `wire`: connections, the message format, names and arguments of broker queues, error classes;
//! - `publish`: confirms, routing by delay, events;
//! - `consume`: one session and one connection per consumer, acknowledgements and other settlements;
//! - `admin`: depths, listings, the dead queue, pauses and cancel requests, migration, and the background task.

mod admin;
mod consume;
mod publish;
mod wire;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicBool},
};

use async_trait::async_trait;
use base::Ambient;
use tokio::sync::watch;

pub use self::wire::connect::RabbitServer;
use self::{
    admin::housekeeping,
    consume::{consumer::ConsumerShared, keys::Keys},
    publish::publisher::Publisher,
    wire::{
        connect::{Address, AdminConnection},
        fault::{ENGINE, answer},
        topology,
    },
};
use crate::{
    engine::{
        Cancelled, Capabilities, Consume, ConsumeOptions, Consumer, ConsumerInfo, DeadFilter, Depth,
        EngineError, EngineInfo, Event, InspectedJob, JobFilter, Publish, Published, QueueSpec,
    },
    envelope::{Envelope, JobId},
    job_store::{Control, JobStore},
};

/// Queues in a broker. Clones share the connections.
#[derive(Clone)]
pub struct RabbitEngine {
    inner: Arc<RabbitClient>,
}

struct RabbitClient {
    address: Address,
    ambient: Ambient,
    store: Arc<dyn JobStore>,
    publisher: Publisher,
    admin: AdminConnection,
    control: watch::Sender<Arc<Control>>,
    keys: Keys,
    /// Consumers of this handle.
    consumers: Mutex<Vec<Weak<ConsumerShared>>>,
    /// Queues known to exist.
    declared: Mutex<HashSet<String>>,
    /// Whether the events exchange is known to exist.
    announcing: AtomicBool,
    /// Held while a dead queue is scanned.
    looking: tokio::sync::Mutex<()>,
}

impl RabbitEngine {
    /// An engine for this broker; the names of its connections begin with `name`. Must be called within a tokio
    /// runtime.
    ///
    /// Does not wait for the broker, which may be down.
    ///
    /// # Errors
    /// [`EngineError::Denied`] for a malformed address. A wrong password or virtual host is reported as
    /// [`EngineError::Denied`] by the first use.
    pub fn new(
        server: RabbitServer<'_>,
        name: &str,
        store: Arc<dyn JobStore>,
        ambient: Ambient,
    ) -> Result<Self, EngineError> {
        let address = Address::parse(server)?;
        let inner = RabbitClient {
            publisher: Publisher::start(address.clone(), format!("{name} publishes"), ambient.clone()),
            admin: AdminConnection::new(address.clone(), format!("{name} inspects")),
            address,
            ambient,
            store,
            control: watch::Sender::default(),
            keys: Keys::default(),
            consumers: Mutex::default(),
            declared: Mutex::default(),
            announcing: AtomicBool::new(false),
            looking: tokio::sync::Mutex::default(),
        };
        let engine = Self { inner: Arc::new(inner) };
        tokio::spawn(housekeeping::run(Arc::downgrade(&engine.inner)));
        Ok(engine)
    }

    /// Reason for which jobs cannot be published now, in one line; `None` when they can. For consumers see
    /// [`crate::engine::Settler::health`].
    pub fn publish_trouble(&self) -> Option<String> {
        self.inner.publisher.trouble()
    }
}

impl RabbitClient {
    fn add_consumer(&self, shared: &Arc<ConsumerShared>) {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|c| c.strong_count() > 0);
        consumers.push(Arc::downgrade(shared));
    }

    fn consumers_of(&self, queue: &str) -> Vec<Arc<ConsumerShared>> {
        let consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.iter().filter_map(Weak::upgrade).filter(|c| c.queue == queue).collect()
    }

    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        queues.iter().try_for_each(|queue| topology::check_name(&queue.name))?;
        for queue in queues {
            let channel = self.admin.channel().await?;
            topology::declare(&channel, &queue.name).await?;
            answer(channel.close(200, "declared".into())).await?;
        }
        let names: Vec<String> = queues.iter().map(|queue| queue.name.clone()).collect();
        self.store.add_queues(&names).await?;
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        Ok(())
    }

    /// Returns [`EngineError::NoSuchQueue`] unless all queues are declared.
    async fn require_queues(&self, names: HashSet<&str>) -> Result<(), EngineError> {
        let all_known = {
            let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
            names.iter().all(|name| declared.contains(*name))
        };
        if all_known {
            return Ok(());
        }
        let known: HashSet<String> = self.store.queues().await?.into_iter().collect();
        let missing = names.into_iter().find(|name| !known.contains(*name)).map(str::to_owned);
        *self.declared.lock().unwrap_or_else(PoisonError::into_inner) = known;
        missing.map_or(Ok(()), |name| Err(EngineError::NoSuchQueue(name)))
    }
}

impl EngineInfo for RabbitEngine {
    fn name(&self) -> &'static str {
        ENGINE
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            strict_priority: false,
            dedupes_ids: false,
            lists_ready: false,
            cancels_ready: false,
            fifo: true,
            concurrency_keys: false,
            announces: true,
        }
    }
}

#[async_trait]
impl Publish for RabbitEngine {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        self.inner.publish(envelopes).await
    }

    async fn publish_events(&self, news: Vec<Event>) -> Result<(), EngineError> {
        self.inner.publish_events(news).await
    }
}

#[async_trait]
impl Consume for RabbitEngine {
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        self.inner.declare(queues).await
    }

    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError> {
        self.inner.require_queues([queue].into()).await?;
        self.inner.refresh_control().await?;
        consume::start(self.inner.clone(), queue, options).await
    }
}

#[async_trait]
impl crate::engine::Admin for RabbitEngine {
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        self.inner.refresh_control().await?;
        self.inner.depth(queue).await
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        self.inner.store.queues().await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        self.inner.consumers().await
    }

    async fn pause(&self, queue: &str) -> Result<(), EngineError> {
        self.inner.set_paused(queue, true).await
    }

    async fn resume(&self, queue: &str) -> Result<(), EngineError> {
        self.inner.set_paused(queue, false).await
    }

    async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.inner.purge(queue).await
    }

    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        self.inner.cancel(id, reason).await
    }

    async fn retry_now(&self, id: JobId) -> Result<bool, EngineError> {
        self.inner.retry_now(id).await
    }

    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        self.inner.list(filter).await
    }

    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        self.inner.find(id).await
    }

    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        self.inner.redrive(filter).await
    }

    async fn migrate_queue(&self, queue: &str) -> Result<u64, EngineError> {
        self.inner.migrate_queue(queue).await
    }
}
