//! The consumer interface of an engine: deliveries one way, settlements the other. Its guarantees are in
//! [`crate::engine`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{EngineError, JobSignal};
use crate::envelope::{Envelope, JobId};

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumeOptions {
    /// Name of the consumer in leases, connections and records: host, process and queue.
    pub name: String,
    /// Most unsettled deliveries: concurrency plus a small reserve.
    pub prefetch: usize,
    /// Longest silence of a consumer before its jobs go to another one. Renewed while the consumer lives, so a job may
    /// run longer than this.
    pub lease: Duration,
}

/// A running subscription. Dropping it returns unsettled deliveries as if the consumer had crashed; for an orderly
/// shutdown call [`Settler::close`] on [`Consumer::settler`] first.
///
/// A consumer that is lost, with its connection for instance, ends and is not renewed: its unsettled deliveries go to
/// other consumers, settlements of them are dropped and counted, and the next one starts with
/// [`Consume::consume`](super::Consume::consume). Workers do this with growing pauses.
pub struct Consumer {
    /// Jobs to run, bounded by the prefetch. Ends with the consumer.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Takes the settlements of the deliveries.
    pub settler: Arc<dyn Settler>,
    /// Receives the reason when the consumer is lost. A sender dropped without a reason means that the engine is closed
    /// for good.
    pub ended: oneshot::Receiver<EngineError>,
}

/// Takes the settlements of a consumer's deliveries.
#[async_trait]
pub trait Settler: Send + Sync + 'static {
    /// Settles a delivery. Returns at once, so that the slot is free for the next job while the engine makes
    /// settlements durable in groups. Until it is durable the job counts against the prefetch; if it never becomes
    /// durable, the job is delivered again. A settlement under a lost lease is dropped and counted; workers settle
    /// every delivery when its run has ended, so an engine may hold until then what the run uses, such as a concurrency
    /// key, and otherwise until the last handle of the settler is dropped.
    fn settle(&self, receipt: Receipt, settlement: Settlement);

    /// Stops new deliveries; those received before stay valid.
    fn stop(&self);

    /// Returns when all settlements so far are durable; then releases unsettled deliveries without counting an attempt
    /// or a crash.
    async fn close(&self) -> Result<(), EngineError>;

    /// Last contact of this consumer with the engine's server or file, and its current trouble.
    fn health(&self) -> ConsumerHealth;
}

/// Health of a consumer: tells an idle consumer from one that is disconnected.
#[derive(Debug, Clone, Serialize)]
pub struct ConsumerHealth {
    /// Time of the last successful exchange with server or file.
    pub last_contact: Timestamp,
    /// Current failure in one line; `None` while there is none.
    pub trouble: Option<String>,
    /// Settlements dropped because their lease was lost.
    pub stale_settlements: u64,
}

/// The health of a consumer, as its loop reports it and its settler reads it.
pub(crate) struct SharedHealth(Mutex<ConsumerHealth>);

impl SharedHealth {
    /// Without trouble, in contact now.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(ConsumerHealth { last_contact: now, trouble: None, stale_settlements: 0 }))
    }

    pub(crate) fn read(&self) -> ConsumerHealth {
        self.0.lock().clone()
    }

    pub(crate) fn count_stale(&self, settlements: u64) {
        self.0.lock().stale_settlements += settlements;
    }

    /// Records a successful exchange. Returns true when the one before failed.
    pub(crate) fn well(&self, now: Timestamp) -> bool {
        let mut health = self.0.lock();
        health.last_contact = now;
        health.trouble.take().is_some()
    }

    /// Records a successful exchange beside those that may fail.
    #[cfg(feature = "rabbitmq")]
    pub(crate) fn in_contact(&self, now: Timestamp) {
        self.0.lock().last_contact = now;
    }

    /// Records that what has failed works again.
    #[cfg(feature = "rabbitmq")]
    pub(crate) fn recovered(&self) {
        self.0.lock().trouble = None;
    }

    /// Records a failed exchange. Returns true when the one before succeeded.
    pub(crate) fn troubled(&self, trouble: String) -> bool {
        self.0.lock().trouble.replace(trouble).is_none()
    }
}

/// One job delivered to a consumer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The job. Shared, because an engine may have to write it again when it is settled.
    pub envelope: Arc<Envelope>,
    /// Receipt to settle the delivery with.
    pub receipt: Receipt,
    /// Consumers the job lost before this delivery.
    pub crashes: u32,
    /// Fires when the run should end early.
    pub signal: JobSignal,
}

/// Identifies one delivery for the consumer that received it; no other consumer can use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// Id of the job.
    pub job: JobId,
    /// Number of the delivery given by the engine: a fencing token or an AMQP delivery tag.
    pub tag: u64,
    /// Connection or consumer session the tag belongs to.
    pub session: u64,
}

/// Settlement of a delivery: `at` is the earliest start of the next run, `error` a text for people.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Completed.
    Done,
    /// Uses an attempt.
    Retry { at: Timestamp, error: String },
    /// Run again later; uses no attempt.
    Snooze { at: Timestamp },
    /// Ended for good, by the job itself or by a cancel request.
    Cancelled { error: String },
    /// Sent to the dead queue; `reason` is for filters.
    Dead { reason: DeadReason, error: String },
    /// Not run: back to the front of its queue, without an attempt or a crash counted.
    Release,
}

/// Reason why a job is in the dead queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadReason {
    /// All attempts failed.
    Exhausted,
    /// No job of this kind was registered in any worker that received it, for about a day.
    UnknownKind,
    /// The payload, or the whole message, could not be decoded; or its version was newer than that of any worker that
    /// received it, for about a day.
    Undecodable,
    /// It lost its consumer more than [`CRASHES_MAX`](super::CRASHES_MAX) times while it ran alone.
    Crashed,
}

crate::names::names!(DeadReason {
    Exhausted: "exhausted",
    UnknownKind: "unknown_kind",
    Undecodable: "undecodable",
    Crashed: "crashed"
});
