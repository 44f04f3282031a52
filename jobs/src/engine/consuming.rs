//! What passes between a queue engine and one of its consumers: deliveries one way, outcomes the other.
//!
//! What an engine promises of both is in [`crate::engine`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{EngineError, JobSignal};
use crate::envelope::{Envelope, JobId};

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
    /// It took its consumer down more than [`CRASHES_MAX`](super::CRASHES_MAX) times.
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
