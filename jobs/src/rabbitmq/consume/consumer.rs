//! State and commands shared by a consumer's settler, its session and the engine.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use base::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::keys::Keys;
use crate::{
    engine::{ConsumerHealth, EngineError, InspectedJob, Receipt, Settlement, Settler, SharedHealth},
    envelope::JobId,
};

pub(crate) enum Command {
    Settle(Receipt, Settlement),
    Close(oneshot::Sender<Result<(), EngineError>>),
    /// Returns the held jobs: the one with this id, or all.
    Held(Option<JobId>, oneshot::Sender<Vec<InspectedJob>>),
    /// Returns once the current pauses and cancel requests are applied.
    ApplyControl(oneshot::Sender<()>),
}

/// Shared by settler, session and engine.
pub(crate) struct ConsumerShared {
    pub(crate) queue: String,
    /// Most deliveries it holds.
    pub(crate) prefetch: usize,
    pub(crate) session: AtomicU64,
    /// Deliveries not yet acknowledged.
    pub(crate) held: AtomicUsize,
    /// Deliveries dispatched to the worker and not settled; see [`super::solo`].
    pub(crate) handed_out: AtomicUsize,
    /// Time at which the youngest delivered job had become ready, in milliseconds since 1970; zero before the first
    /// one.
    pub(super) reached_ms: AtomicI64,
    pub(super) stopped: watch::Sender<bool>,
    /// Whether the settler is dropped: no run of this consumer goes on.
    pub(super) dropped: AtomicBool,
    /// Weak, because the session learns from the drop of the settler that the consumer is gone.
    pub(super) commands: mpsc::WeakUnboundedSender<Command>,
    pub(super) health: SharedHealth,
    /// Reason for which settlements cannot be made durable now.
    stalled: Mutex<Option<String>>,
}

impl ConsumerShared {
    pub(super) fn new(
        queue: &str,
        prefetch: usize,
        now: Timestamp,
        commands: mpsc::WeakUnboundedSender<Command>,
    ) -> Self {
        Self {
            queue: queue.to_owned(),
            prefetch,
            session: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            handed_out: AtomicUsize::new(0),
            reached_ms: AtomicI64::new(0),
            stopped: watch::Sender::new(false),
            dropped: AtomicBool::new(false),
            commands,
            health: SharedHealth::new(now),
            stalled: Mutex::new(None),
        }
    }

    pub(crate) fn reached_at(&self) -> Option<Timestamp> {
        let millis = self.reached_ms.load(Ordering::Relaxed);
        Timestamp::from_millisecond(millis).ok().filter(|_| millis > 0)
    }

    /// Records that a settlement cannot be made durable. Returns true when the previous one could.
    pub(super) fn stall(&self, why: String) -> bool {
        self.stalled.lock().replace(why).is_none()
    }

    /// Records that a settlement was made durable.
    pub(super) fn flow(&self) {
        *self.stalled.lock() = None;
    }

    pub(super) fn stalled(&self) -> Option<String> {
        self.stalled.lock().clone()
    }

    /// Counts an outcome that came too late, and notes that its run has ended.
    pub(super) fn settled_late(&self, keys: &Keys, receipt: Receipt) {
        self.health.count_stale(1);
        keys.ended(receipt);
    }

    /// Sends a command to the session and waits for the reply; `None` when the session has ended.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.upgrade()?.send(command(reply)).ok()?;
        answer.await.ok()
    }
}

pub(super) struct RabbitSettler {
    pub(super) shared: Arc<ConsumerShared>,
    pub(super) keys: Arc<Keys>,
    /// Unbounded by type; bounded by the prefetch, except for deliveries settled twice.
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

#[async_trait]
impl Settler for RabbitSettler {
    fn settle(&self, receipt: Receipt, settlement: Settlement) {
        if self.commands.send(Command::Settle(receipt, settlement)).is_err() {
            self.shared.settled_late(&self.keys, receipt);
        }
    }

    fn stop(&self) {
        self.shared.stopped.send_replace(true);
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.stop();
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).is_err() {
            return Ok(());
        }
        // A second close may arrive while the first one ends the session; nothing is left to do then.
        answer.await.unwrap_or(Ok(()))
    }

    fn health(&self) -> ConsumerHealth {
        self.shared.health.read()
    }
}

impl Drop for RabbitSettler {
    fn drop(&mut self) {
        // In this order: a session that is just being lost looks for the flag after it has kept its runs.
        self.shared.dropped.store(true, Ordering::SeqCst);
        self.keys.ended_all(self.shared.session.load(Ordering::Relaxed));
    }
}
