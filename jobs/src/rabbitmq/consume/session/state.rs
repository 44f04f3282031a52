//! State of a consumer session, and its opening.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lapin::{Connection, message::Delivery as RabbitDelivery};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, Interval},
};

use super::coalesce::Coalescer;
use crate::{
    engine::{Delivery, EngineError},
    envelope::JobId,
    job::Priority,
    job_store::Control,
    rabbitmq::{
        RabbitClient,
        consume::{
            consumer::{Command, ConsumerShared},
            priority_channel::PriorityChannel,
        },
        wire::topology,
    },
};

/// Interval of checking channels and connection.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Index of a channel that asked the broker, and the number of consumers of its queue.
pub(super) type ProbeAnswer = (usize, Result<u32, EngineError>);
/// Channel and tag of a delivery, and whether it may start.
pub(super) type StoreAnswer = (usize, u64, MayStart);

/// Whether a delivery may start, by the answer of the job store.
#[derive(Debug, Clone, Copy)]
pub(super) enum MayStart {
    Yes,
    /// Another job holds its order key.
    Never,
    /// The store did not answer.
    Unknown,
}

pub(crate) struct Plan {
    pub(crate) inner: Arc<RabbitClient>,
    pub(crate) shared: Arc<ConsumerShared>,
    pub(crate) name: String,
    pub(crate) prefetch: u16,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
}

pub(crate) struct ConsumerSession {
    pub(super) plan: Plan,
    pub(super) id: u64,
    pub(super) connection: Connection,
    pub(super) channels: Vec<PriorityChannel>,
    /// Jobs dispatched so far.
    pub(super) starts: u64,
    /// Each returns channel and tag of its delivery once the settlement is durable.
    pub(super) settling: JoinSet<(usize, u64)>,
    /// Deliveries that wait for an answer of the job store.
    pub(super) asking: JoinSet<StoreAnswer>,
    pub(super) probes: JoinSet<ProbeAnswer>,
    pub(super) control: watch::Receiver<Arc<Control>>,
    pub(super) freed: watch::Receiver<()>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) look: Interval,
    pub(super) looks: u32,
    pub(super) flush_at: Option<Instant>,
    pub(super) pace: Coalescer,
    pub(super) inbox: Vec<Command>,
    pub(super) arrivals: Vec<(usize, RabbitDelivery)>,
    /// What the last note says: number of jobs, time of the youngest, ids.
    pub(super) noted: Option<(u64, i64, Vec<JobId>)>,
    /// The write of the last note.
    pub(super) noting: Option<JoinHandle<()>>,
    /// The deletion of what ended jobs have left in the job store.
    pub(super) clearing: Option<JoinHandle<()>>,
}

impl ConsumerSession {
    /// Connects, declares the queues and subscribes.
    pub(crate) async fn open(plan: Plan) -> Result<Self, EngineError> {
        let (inner, shared) = (plan.inner.clone(), plan.shared.clone());
        let connection = inner.address.connect(&format!("{} consumes", plan.name)).await?;
        topology::declare_for_consumer(&connection, &shared.queue).await?;
        let mut channels = Vec::with_capacity(Priority::ALL.len());
        for class in Priority::ALL {
            channels.push(PriorityChannel::open(&connection, &shared.queue, class, &plan.name).await?);
        }
        let mut id = [0; 8];
        inner.ambient.fill(&mut id);
        let mut session = Self {
            id: u64::from_le_bytes(id),
            connection,
            channels,
            starts: 0,
            settling: JoinSet::new(),
            asking: JoinSet::new(),
            probes: JoinSet::new(),
            control: inner.control.subscribe(),
            freed: inner.keys.subscribe(),
            stopped: shared.stopped.subscribe(),
            look: tokio::time::interval(LOOK_EVERY),
            looks: 0,
            flush_at: None,
            pace: Coalescer::new(plan.prefetch, Instant::now()),
            inbox: Vec::new(),
            arrivals: Vec::new(),
            noted: None,
            noting: None,
            clearing: None,
            plan,
        };
        shared.session.store(session.id, Ordering::Relaxed);
        session.follow_control().await?;
        Ok(session)
    }
}
