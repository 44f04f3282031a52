//! The contract of a queue engine. `SQLite` and `RabbitMQ` implement it; callers cannot tell which one they hold.
//!
//! Guarantees asked of every engine, and tested by [`crate::conformance`]:
//! - what [`Engine::publish`] answered is durable and will be delivered until settled;
//! - a delivery is settled at most once, and only by the consumer that holds it (fencing);
//! - a delayed job is never early; a job that lost its consumer is delivered again with `crashes` raised;
//! - what cannot be decoded, or crashed its consumer too often, is parked in the dead queue with a reason.
//!
//! Differences are [`Capabilities`], each with its reason at the engine.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

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
    async fn list(&self, filter: &JobFilter) -> Result<Vec<HeldJob>, EngineError>;

    /// One job the engine holds, in whatever state.
    async fn find(&self, id: JobId) -> Result<Option<HeldJob>, EngineError>;

    /// Takes matching dead jobs back into their queues with fresh attempts, oldest first. Answers their ids.
    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError>;

    /// Tells programs outside of what happened, confirmed by the server and in this order; gone where nobody listens.
    /// Does nothing in an engine without [`Capabilities::announces`].
    async fn announce(&self, _news: Vec<Announcement>) -> Result<(), EngineError> {
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

/// How a consumer wants its jobs.
#[derive(Debug, Clone)]
pub struct ConsumeOptions {
    /// Names the consumer in leases, connections and records: host, process and queue.
    pub name: String,
    /// Unsettled deliveries at most; concurrency plus a small reserve.
    pub prefetch: usize,
    /// How long a consumer may be silent before its jobs are given to another. Renewed while it lives, so a job
    /// may run longer than this.
    pub lease: Duration,
}

/// A running subscription. Dropping it gives unsettled deliveries back as if the consumer had crashed;
/// [`Consumer::settler`] and then [`Settler::close`] is the orderly way.
pub struct Consumer {
    /// Jobs to run, bounded by the prefetch. Ends only when the engine is closed for good.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Takes outcomes.
    pub settler: Arc<dyn Settler>,
}

/// Takes the outcomes of a consumer's deliveries.
#[async_trait]
pub trait Settler: Send + Sync + 'static {
    /// Hands an outcome over; returns at once, so that the slot is free for the next job while the engine makes
    /// outcomes durable in groups. Until that, the job counts against the prefetch; if it never gets there, the
    /// job is delivered again. An outcome for a lease that was lost is dropped and counted.
    fn settle(&self, receipt: Receipt, settlement: Settlement);

    /// Stops handing out new deliveries; those handed out stay valid.
    fn stop(&self);

    /// Returns when all outcomes handed over so far are durable, then gives back what was never settled,
    /// without charging an attempt or a crash.
    async fn close(&self) -> Result<(), EngineError>;

    /// When the engine last spoke with its server or file on behalf of this consumer, and whether it can now.
    fn health(&self) -> ConsumerHealth;
}

/// Whether a consumer is able to consume: the difference between idle and deaf.
#[derive(Debug, Clone, Serialize)]
pub struct ConsumerHealth {
    /// Last successful exchange.
    pub last_contact: Timestamp,
    /// What is wrong, in one line; `None` when nothing is.
    pub trouble: Option<String>,
    /// Outcomes dropped because the lease had been lost.
    pub stale_settlements: u64,
}

/// One job handed to a consumer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The job. Shared, so that an engine can keep what it may have to write anew.
    pub envelope: Arc<Envelope>,
    /// What to settle it with.
    pub receipt: Receipt,
    /// How often it lost its consumer before this.
    pub crashes: u32,
    /// Fires when the run should end early.
    pub signal: JobSignal,
}

/// Names one delivery to the consumer that got it; useless to any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The job.
    pub job: JobId,
    /// The engine's own number for the delivery: a fencing token or a delivery tag.
    pub tag: u64,
    /// Which connection or consumer the tag belongs to.
    pub session: u64,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Ran to its end.
    Done,
    /// Again at this time, with the attempt counted.
    Retry {
        /// Not before.
        at: Timestamp,
        /// Why.
        error: String,
    },
    /// Again at this time, without an attempt.
    Snooze {
        /// Not before.
        at: Timestamp,
    },
    /// Never again, by the job's own word or by a request.
    Cancelled {
        /// Why.
        error: String,
    },
    /// Parked in the dead queue.
    Dead {
        /// Why, as a class.
        reason: DeadReason,
        /// Why, in words.
        error: String,
    },
    /// Not run: back to the front of its queue, nothing counted.
    Release,
}

/// Why a job is in the dead queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadReason {
    /// All attempts failed.
    Exhausted,
    /// No job of this kind is registered here.
    UnknownKind,
    /// The payload, or the whole message, could not be read.
    Undecodable,
    /// It took its consumer down more than [`CRASHES_MAX`] times.
    Crashed,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Exhausted, Self::UnknownKind, Self::Undecodable, Self::Crashed];

    /// The name in headers, tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::UnknownKind => "unknown_kind",
            Self::Undecodable => "undecodable",
            Self::Crashed => "crashed",
        }
    }
}

/// Tells a run that it should end early, and why. Clones share one state.
///
/// One allocation and no lock to clone it, rather than a `CancellationToken`: every run has one, few ever fire.
#[derive(Debug, Clone, Default)]
pub struct JobSignal(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    why: OnceLock<Interrupt>,
    fired: Notify,
}

/// Why a run should end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Somebody cancelled the job; a failure after this is final.
    Cancelled,
    /// The lease is lost: another consumer may run the job already, this outcome will not count.
    LeaseLost,
    /// The worker stops now; the job will be given back.
    Shutdown,
}

impl JobSignal {
    /// Fires; the first reason stays.
    pub fn fire(&self, why: Interrupt) {
        self.0.why.get_or_init(|| why);
        self.0.fired.notify_waiters();
    }

    /// The reason, once fired.
    pub fn interrupt(&self) -> Option<Interrupt> {
        self.0.why.get().copied()
    }

    /// Waits until fired.
    pub async fn fired(&self) -> Interrupt {
        loop {
            // Made before the look, so that firing in between wakes it.
            let fired = self.0.fired.notified();
            if let Some(why) = self.interrupt() {
                return why;
            }
            fired.await;
        }
    }
}

/// How full a queue is. Counts may be slightly old; `RabbitMQ` counts are those of its last statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// The queue.
    pub queue: String,
    /// Waiting to be started now.
    pub ready: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// Handed out and not settled.
    pub running: u64,
    /// Parked.
    pub dead: u64,
    /// When the oldest ready job became ready; the signal to scale by.
    pub oldest_ready_at: Option<Timestamp>,
    /// Whether it is paused.
    pub paused: bool,
}

/// A consumer, as other processes see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsumerInfo {
    /// [`ConsumeOptions::name`].
    pub name: String,
    /// The queue it consumes.
    pub queue: String,
    /// Jobs handed to it and not settled, the prefetched ones included.
    pub jobs: u64,
    /// Last known sign of life, or until when its lease holds, whichever is later.
    pub alive_until: Timestamp,
}

/// Something that happened, for programs outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
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

/// Where a held job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// May start now.
    Ready,
    /// Waits for its time.
    Delayed,
    /// Handed out.
    Running,
    /// Parked.
    Dead,
}

/// A job as an engine holds it.
#[derive(Debug, Clone, Serialize)]
pub struct HeldJob {
    /// The job; for a message that could not be read, a made-up envelope of kind `""` with the raw bytes as a string.
    pub envelope: Envelope,
    /// Where it stands.
    pub state: HeldState,
    /// How often it lost its consumer.
    pub crashes: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// Set when dead.
    pub dead: Option<DeadInfo>,
}

/// How a job came to be dead.
#[derive(Debug, Clone, Serialize)]
pub struct DeadInfo {
    /// Why.
    pub reason: DeadReason,
    /// When it failed first.
    pub first_failed_at: Timestamp,
    /// When it was parked.
    pub died_at: Timestamp,
}

/// Which held jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this state.
    pub state: Option<HeldState>,
    /// Only this kind.
    pub kind: Option<String>,
    /// After this job in the listing.
    pub after: Option<JobId>,
    /// At most so many; engines cap it at 1000.
    pub limit: u32,
}

/// Which dead jobs to redrive.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this reason.
    pub reason: Option<DeadReason>,
    /// Only errors containing this text.
    pub error_contains: Option<String>,
    /// Only those that died at or after this time.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
    /// Only say which ones.
    pub dry_run: bool,
}

/// Why an engine could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The server or file cannot be reached now; try again, under the same ids.
    #[error("the {engine} engine is unavailable: {detail}")]
    Unavailable {
        /// Which engine.
        engine: &'static str,
        /// What is known.
        detail: String,
        /// The cause, if there is one.
        #[source]
        source: Option<crate::error::Cause>,
    },
    /// The queue was never declared.
    #[error("there is no queue `{0}`")]
    NoSuchQueue(String),
    /// A queue exists with other arguments than wanted.
    #[error("queue `{queue}` exists in another shape: {difference}; {remedy}")]
    Topology {
        /// The queue.
        queue: String,
        /// What differs.
        difference: String,
        /// The command that mends it.
        remedy: String,
    },
    /// The job can never be accepted: too large a payload, a bad name.
    #[error("the job was refused: {0}")]
    Refused(String),
    /// The server turns this configuration away for good: wrong credentials, no such virtual host, a bad address.
    /// Waiting does not help; a worker should exit with it.
    #[error("the {engine} engine is not allowed in: {detail}")]
    Denied {
        /// Which engine.
        engine: &'static str,
        /// What the server said, without secrets.
        detail: String,
    },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
}
