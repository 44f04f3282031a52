//! The contract of a queue engine. `SQLite` and `RabbitMQ` implement it; callers cannot tell which one they hold.
//!
//! Guarantees asked of every engine, and tested by [`crate::conformance`]:
//! - what [`Engine::publish`] answered is durable and will be delivered until settled;
//! - a delivery is settled at most once, and only by the consumer that holds it (fencing);
//! - a delayed job is never early; a job that lost its consumer is delivered again with `crashes` raised;
//! - what cannot be decoded, or crashed its consumer too often, is parked in the dead queue with a reason.
//!
//! Differences are [`Capabilities`], each with its reason at the engine.

mod consuming;
mod error;
mod inspected;
mod signal;

use async_trait::async_trait;
use base::TraceContext;

pub use self::{
    consuming::{
        ConsumeOptions, Consumer, ConsumerHealth, DeadReason, Delivery, Receipt, Settlement, Settler,
    },
    error::EngineError,
    inspected::{ConsumerInfo, DeadFilter, DeadInfo, Depth, InspectedJob, JobFilter, JobState},
    signal::{Interrupt, JobSignal},
};
use crate::envelope::{Envelope, JobId};

/// How often a job may lose its consumer (crash, kill, cut connection) before it is parked as a poison message.
pub const CRASHES_MAX: u32 = 20;

/// A queue engine. All methods may be called from many tasks at once.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Short name for logs and `inspect`.
    fn name(&self) -> &'static str;

    /// Where this engine truly differs from the others.
    fn capabilities(&self) -> Capabilities;

    /// Makes sure the queues exist. Idempotent; fails with [`EngineError::Topology`] where one exists in another shape.
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError>;

    /// Stores the jobs durably; answers one [`Published`] per envelope, in order.
    ///
    /// An error means that nothing, a part, or everything was stored: publish again under the same ids.
    /// Never hangs: an engine that cannot be reached answers within seconds.
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError>;

    /// Starts to hand out jobs of one queue.
    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError>;

    /// How full a queue is.
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError>;

    /// The declared queues.
    async fn queues(&self) -> Result<Vec<String>, EngineError>;

    /// The consumers of all processes, by queue; those that fell silent leave the list once their lease has run out.
    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError>;

    /// Stops handing out jobs of a queue, in every process and over restarts, until [`Engine::resume`].
    /// Jobs already started run on; publishing goes on.
    async fn pause(&self, queue: &str) -> Result<(), EngineError>;

    /// Undoes [`Engine::pause`].
    async fn resume(&self, queue: &str) -> Result<(), EngineError>;

    /// Drops what waits in a queue, delayed jobs included, not what runs and not the dead. Answers how many.
    async fn purge(&self, queue: &str) -> Result<u64, EngineError>;

    /// Ends a job for good: a waiting one at once, a running one by firing its [`JobSignal`].
    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError>;

    /// Makes a delayed or dead job ready now, a dead one with fresh attempts. False when there is no such job.
    async fn retry_now(&self, id: JobId) -> Result<bool, EngineError>;

    /// Jobs the engine holds, oldest first.
    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError>;

    /// One job the engine holds, in whatever state.
    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError>;

    /// Takes matching dead jobs back into their queues with fresh attempts, oldest first. Answers their ids.
    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError>;

    /// Tells programs outside of what happened, confirmed by the server and in this order; gone where nobody listens.
    /// Does nothing in an engine without [`Capabilities::announces`].
    async fn publish_events(&self, _news: Vec<Event>) -> Result<(), EngineError> {
        Ok(())
    }

    /// Makes a queue of an earlier release anew in today's shape, with its jobs; answers how many were moved.
    /// The remedy of [`EngineError::Topology`], for a time when the queue's workers are stopped.
    async fn migrate_queue(&self, _queue: &str) -> Result<u64, EngineError> {
        Ok(0)
    }
}

/// Named differences between engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of independent flags, each named at its use")]
#[non_exhaustive]
pub struct Capabilities {
    /// A waiting job of a higher class is always started before one of a lower class. Without it, mostly.
    pub strict_priority: bool,
    /// Publishing an id that is waiting, running or dead is answered with [`Published::Duplicate`].
    pub dedupes_ids: bool,
    /// [`Engine::list`] sees ready jobs, not only delayed and dead ones.
    pub lists_ready: bool,
    /// [`Engine::cancel`] removes a ready job at once, rather than when its turn comes.
    pub cancels_ready: bool,
    /// With one consumer and one slot, jobs of a class start in the order of their publishing.
    pub fifo: bool,
    /// `concurrency_key` is honoured across processes, not only within one.
    pub concurrency_keys: bool,
    /// [`Engine::announce`] reaches programs outside.
    pub announces: bool,
}

impl Capabilities {
    /// Everything a store with transactions over all its jobs can do. Nobody listens to a store.
    pub const FULL: Self = Self {
        strict_priority: true,
        dedupes_ids: true,
        lists_ready: true,
        cancels_ready: true,
        fifo: true,
        concurrency_keys: true,
        announces: false,
    };
}

/// A queue to declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// `[a-z0-9_]{1,60}`.
    pub name: String,
}

impl QueueSpec {
    /// A queue of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// What became of one published envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Stored.
    Accepted,
    /// The engine holds this id already; nothing changed.
    Duplicate,
    /// Another job with this unique key waits or runs; nothing changed.
    NotUnique(JobId),
}

/// Something that happened, for programs outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same when it is told again.
    pub id: String,
    /// Dotted words, such as `order.paid`, at most 255 bytes; what listeners choose by.
    pub topic: String,
    /// Whose it is, for listeners that serve many.
    pub source: String,
    /// JSON.
    pub body: String,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
}

/// What [`Engine::cancel`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It was waiting and is gone.
    Removed,
    /// It runs, or its message cannot be reached yet; the cancellation is stored and takes effect at the next chance.
    Requested,
    /// The engine holds no such job: unknown, or ended already.
    NotFound,
}
