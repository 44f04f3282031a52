//! The contracts of a queue engine: [`Publish`], [`Consume`] and [`Admin`], together [`Engine`]. `SQLite` and
//! `RabbitMQ` implement them; callers take the narrowest one and do not depend on which engine they hold.
//!
//! Guarantees of every engine, tested by [`crate::conformance`]:
//! - a job for which [`Publish::publish`] returned `Ok` is durable and is delivered until settled;
//! - a delivery is settled at most once, and only by the consumer that holds it (fencing);
//! - lower priorities get a share of the starts while higher ones never run out, see [`crate::Priority::in_turn`];
//! - a delayed job is never early; a job that lost its consumer is delivered again with `crashes` raised;
//! - a message that cannot be decoded, or crashed its consumer too often, is moved to the dead queue with a reason;
//! - a job is not parked for a crash that others may have caused: after several crashes in a row it is a suspect, which
//!   runs alone in its process, and only crashes then count.
//!
//! Differences between engines are [`Capabilities`]; each engine documents the reason for its own.

mod alteration;
mod consuming;
mod error;
mod fair;
mod inspected;
pub(crate) mod page;
mod signal;

use std::time::Duration;

use async_trait::async_trait;
use base::TraceContext;

pub use self::{
    alteration::Alteration,
    consuming::{
        ConsumeOptions, Consumer, ConsumerHealth, DeadReason, Delivery, Receipt, Settlement, Settler,
    },
    error::EngineError,
    fair::{FAIR_COUNTED_MAX, FairKey, Weights},
    inspected::{ConsumerInfo, DeadFilter, DeadInfo, Depth, InspectedJob, JobFilter, JobState},
    signal::{Interrupt, JobSignal},
};
pub(crate) use self::{
    consuming::SharedHealth,
    fair::{FAIR_UNIT, with_weights},
};
use crate::envelope::{Envelope, JobId};
pub use crate::unique::{HolderState, KeyHolder};

/// Consumers a job may lose in a row (crash, kill, cut connection); one more makes it a suspect, which is run alone in
/// its process until a run of it ends.
pub const LOST_MAX: u32 = 2;
/// Consumers a job may lose while it runs alone as a suspect; one more sends it to the dead queue as a poison message.
/// Other jobs that crash the process beside it do not count.
pub const CRASHES_MAX: u32 = 20;
/// Pause of a suspect after a crash alone, from the release of its job on: doubling from the first value up to the
/// second. A loop of crashes with another cause then passes mostly without the job.
pub(crate) const CRASH_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Most jobs or records returned by one listing.
pub(crate) const LIST_MAX: u32 = 1000;
/// Most dead jobs dropped by one call, which bounds how long other writers wait.
pub(crate) const DROP_MAX: u32 = 1000;
/// Longest delay of a job that an engine without [`Capabilities::lists_delayed`] cannot list or assign to a queue.
pub const SHORT_DELAY_MAX: Duration = Duration::from_mins(1);
/// Longest name of a kind or a queue, in bytes.
const NAME_BYTES_MAX: usize = 60;

/// A whole queue engine: every type with the three contracts is one. All methods may be called concurrently.
pub trait Engine: Publish + Consume + Admin {}

impl<T: Publish + Consume + Admin> Engine for T {}

/// What the contracts of an engine share.
pub trait EngineInfo: Send + Sync + 'static {
    /// Short name for logs and `inspect`.
    fn name(&self) -> &'static str;

    /// Features this engine has or lacks.
    fn capabilities(&self) -> Capabilities;
}

/// The publishing contract, for producers and relays.
#[async_trait]
pub trait Publish: EngineInfo {
    /// Stores the jobs durably; returns one [`Published`] per envelope, in order.
    ///
    /// # Errors
    /// After an error, none, some or all of the jobs are stored: publish again under the same ids. Never hangs: an
    /// engine that cannot be reached returns an error within seconds.
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError>;

    /// Publishes events to outside consumers, confirmed by the server and in this order; an event that no queue is
    /// bound for is discarded. A no-op for engines without the capability [`Capabilities::publishes_events`].
    async fn publish_events(&self, _events: Vec<Event>) -> Result<(), EngineError> {
        Ok(())
    }
}

/// The consuming contract, for workers.
#[async_trait]
pub trait Consume: EngineInfo {
    /// Creates the queues that do not exist. Idempotent.
    ///
    /// # Errors
    /// [`EngineError::Topology`] where a queue exists with other arguments, [`EngineError::Refused`] for an invalid
    /// name.
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError>;

    /// Starts a consumer of one queue.
    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError>;
}

/// The contract of inspection and control, for commands and consoles.
#[async_trait]
pub trait Admin: EngineInfo {
    /// Numbers of jobs in a queue, by state; without those of [`Admin::short_delays`]. Over a broker, ready jobs that
    /// wait for their turn in a fair queue are counted up to
    /// [`FAIR_BACKLOG_MAX`](crate::job_store::FAIR_BACKLOG_MAX) of each priority.
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError>;

    /// [`Admin::depth`] for those who need no larger number of delayed and of dead jobs than `most`: an engine that has
    /// to count them may stop there, so that the answer costs the same whatever the queue holds.
    async fn depth_up_to(&self, queue: &str, _most: u64) -> Result<Depth, EngineError> {
        self.depth(queue).await
    }

    /// Number of jobs, of all queues together, in delays of up to [`SHORT_DELAY_MAX`] that the engine cannot assign to
    /// a queue; always zero with [`Capabilities::lists_delayed`].
    async fn short_delays(&self) -> Result<u64, EngineError> {
        Ok(0)
    }

    /// The keys of a [fair](QueueSpec::fair()) queue with most jobs waiting for their turn, at most `most`, which
    /// engines cap at 1000; `None` for any other queue. Over a broker without the jobs that it has already; of a long
    /// backlog the [`FAIR_COUNTED_MAX`] with the first turns are counted.
    async fn fair_keys(&self, _queue: &str, _most: u32) -> Result<Option<Vec<FairKey>>, EngineError> {
        Ok(None)
    }

    /// Names of the declared queues.
    async fn queues(&self) -> Result<Vec<String>, EngineError>;

    /// The consumers of all processes, by queue; silent ones are listed until their lease expires.
    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError>;

    /// Stops deliveries from a queue, in every process and over restarts, until [`Admin::resume`]. Running jobs
    /// continue, publishing stays possible.
    async fn pause(&self, queue: &str) -> Result<(), EngineError> {
        self.set_paused(queue, true).await
    }

    /// Ends a pause.
    async fn resume(&self, queue: &str) -> Result<(), EngineError> {
        self.set_paused(queue, false).await
    }

    /// [`Admin::pause`] or [`Admin::resume`].
    async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), EngineError>;

    /// Deletes ready and delayed jobs of a queue, neither running nor dead ones. Returns how many. Jobs of
    /// [`Admin::short_delays`] are not deleted: they become ready within that time.
    async fn purge(&self, queue: &str) -> Result<u64, EngineError>;

    /// Ends a job for good: a waiting one is deleted, a running one gets its [`JobSignal`]. An engine without
    /// [`Capabilities::cancels_ready`] may answer [`Cancelled::Requested`] for an unknown id while other jobs wait.
    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError>;

    /// Makes a delayed or dead job ready now, a dead one with fresh attempts. Returns false when there is no such job.
    /// A job behind another one of its [order key](crate::Job::order_key) loses its earliest start only; a dead one
    /// goes before those of its key that were published later and have not started.
    ///
    /// # Errors
    /// [`EngineError::NotUnique`] for a dead job whose unique key another job holds; it stays dead.
    async fn retry_now(&self, id: JobId) -> Result<bool, EngineError>;

    /// Alters a job that waits, ready or delayed, in one step: it is neither lost nor started in between. Returns false
    /// for any other job, and for one that the engine cannot list, see [`Capabilities::lists_ready`] and
    /// [`Capabilities::lists_delayed`]. In another queue a job joins the jobs of its
    /// [order key](crate::Job::order_key) there, in the order of publishing.
    ///
    /// # Errors
    /// [`EngineError::NoSuchQueue`] for a queue that is not declared.
    async fn alter(&self, id: JobId, alteration: Alteration) -> Result<bool, EngineError>;

    /// Jobs that match, oldest first; see [`Capabilities::lists_ready`] and [`Capabilities::lists_delayed`]. A page of
    /// large jobs may be shorter than its limit: only an empty page is the last one.
    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError>;

    /// Some ready jobs of a queue, at most `limit` of each priority, which engines cap at 1000. Without
    /// [`Capabilities::lists_ready`] they are taken from the front of the queue and put back at its end: neither an
    /// attempt nor a crash is counted, and a crash of this process in between runs some twice.
    async fn sample_ready(&self, queue: &str, limit: u32) -> Result<Vec<InspectedJob>, EngineError> {
        let (queue, state) = (Some(queue.to_owned()), Some(JobState::Ready));
        self.list(&JobFilter { queue, state, limit, ..JobFilter::default() }).await
    }

    /// One job by id, in any state that [`Admin::list`] lists.
    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError>;

    /// Moves matching dead jobs back to their queues with fresh attempts, by id, which is oldest first; their runs link
    /// to the trace of before ([`TraceContext::linked`]) instead of continuing it. Returns their ids: fewer than the
    /// limit only when no other matches. A job whose unique key another one holds stays dead; [`Admin::retry_now`]
    /// names the holder.
    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError>;

    /// Deletes matching dead jobs for good, those that died first, 1000 at most in a call; returns how many, zero when
    /// none is left. A dry run deletes none and counts all, up to the filter's limit.
    async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, EngineError>;
}

/// Named differences between engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of independent flags, each named at its use")]
#[non_exhaustive]
pub struct Capabilities {
    /// With one slot, the next job is the first ready one in the order of [`Priority::in_turn`](crate::Priority);
    /// without the flag, only mostly.
    pub exact_priority: bool,
    /// Publishing an id that is waiting, running or dead returns [`Published::Duplicate`].
    pub dedupes_ids: bool,
    /// [`Admin::list`] returns every ready job, not only those that wait for their turn in a fair queue.
    pub lists_ready: bool,
    /// [`Admin::list`] returns every delayed job, not only those that are delayed for more than [`SHORT_DELAY_MAX`].
    pub lists_delayed: bool,
    /// [`Admin::cancel`] deletes a ready job at once, rather than when it is delivered.
    pub cancels_ready: bool,
    /// With one consumer and one slot, jobs of one priority start in the order of publishing.
    pub fifo: bool,
    /// `concurrency_key` holds across processes, not only within one.
    pub concurrency_keys: bool,
    /// A queue that is [fair](QueueSpec::fair()) divides its starts among the keys of its jobs.
    pub fair_share: bool,
    /// Jobs with one [order key](crate::Job::order_key) run one after the other in the order of publishing, over all
    /// processes; without the flag, such a job is refused.
    pub order_keys: bool,
    /// Suspects run alone in their process; without the flag, a crash with several jobs in flight counts for none.
    pub isolates_suspects: bool,
    /// [`Publish::publish_events`] reaches outside consumers.
    pub publishes_events: bool,
    /// Longest run of a job, where the server takes a delivery away after some time whatever its consumer does; workers
    /// refuse kinds with a longer [`Job::TIMEOUT`](crate::Job::TIMEOUT). `None` without such a limit.
    pub longest_run: Option<Duration>,
}

impl Capabilities {
    /// The capabilities of a store with transactions over all its jobs: all but events, for which it has no outside
    /// consumers; runs of any length.
    pub const FULL: Self = Self {
        exact_priority: true,
        dedupes_ids: true,
        lists_ready: true,
        lists_delayed: true,
        cancels_ready: true,
        fifo: true,
        concurrency_keys: true,
        fair_share: true,
        order_keys: true,
        isolates_suspects: true,
        publishes_events: false,
        longest_run: None,
    };
}

/// A queue to declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Queue name, `[a-z0-9_]{1,60}`.
    pub name: String,
    /// Weights of a fair queue; `None` leaves a queue as it was declared before.
    pub fair: Option<Weights>,
}

impl QueueSpec {
    /// A queue with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), fair: None }
    }

    /// Makes the queue fair, for good: within a priority its starts are divided among the
    /// [keys](crate::Job::fair_key) of its jobs by these weights, however many jobs of one key wait. The weights
    /// declared last count, in all processes. Needs [`Capabilities::fair_share`]; other engines ignore it.
    #[must_use]
    pub fn fair(self, weights: Weights) -> Self {
        Self { fair: Some(weights), ..self }
    }

    /// Checks name and weights, as each engine does before it declares a queue.
    ///
    /// # Errors
    /// [`EngineError::Refused`] for a name other than `[a-z0-9_]{1,60}` (engines build further names from it with dots)
    /// or weights out of bounds.
    pub fn check(&self) -> Result<(), EngineError> {
        if is_name(&self.name) {
            return self.fair.as_ref().map_or(Ok(()), |weights| weights.check(&self.name));
        }
        Err(EngineError::Refused(format!("queue name `{}`: use [a-z0-9_]{{1,{NAME_BYTES_MAX}}}", self.name)))
    }
}

/// Whether a text may be the name of a kind or a queue.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Result of publishing one envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Stored.
    Accepted,
    /// The engine holds this id already, or the job has ended and the period of its unique key lasts; nothing was
    /// changed.
    Duplicate,
    /// This other job holds the unique key; nothing was changed.
    NotUnique(KeyHolder),
}

/// A domain event for outside consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Event id, the same when the event is published again.
    pub id: String,
    /// Routing key of dotted words, such as `order.paid`, at most 255 bytes.
    pub topic: String,
    /// Owner of the event, for consumers that serve several merchants.
    pub source: String,
    /// Event body, JSON.
    pub body: String,
    /// Trace context of the change that caused the event.
    pub trace: Option<TraceContext>,
}

/// Result of [`Admin::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The job was waiting and was deleted.
    Removed,
    /// The job runs, or its message cannot be reached yet; the request is stored and takes effect as soon as possible.
    Requested,
    /// The engine holds no such job: unknown, or ended already.
    NotFound,
}
