//! The three contracts of an engine: every method takes the lock, changes the rows and wakes the consumers that wait.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use orderworks_jobs::{
    Admin, Ambient, Consume, Envelope, ErrorClass, JobId, Publish, Timestamp, async_trait,
    engine::{
        Alteration, Cancelled, Capabilities, ConsumeOptions, Consumer, ConsumerHealth, ConsumerInfo,
        DeadFilter, Delivery, Depth, EngineError, EngineInfo, InspectedJob, JobFilter, Published, QueueSpec,
        Receipt, Settlement, Settler,
    },
};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::rows::{Claim, Rows};

const NAME: &str = "vec";

/// The engine; clones share one set of jobs, as connections share a server.
#[derive(Clone)]
pub(crate) struct VecEngine(Arc<Storage>);

struct Storage {
    ambient: Ambient,
    rows: Mutex<Rows>,
    changed: Notify,
}

impl VecEngine {
    pub(crate) fn new(ambient: Ambient) -> Self {
        Self(Arc::new(Storage { ambient, rows: Mutex::default(), changed: Notify::new() }))
    }

    #[cfg(test)]
    pub(crate) fn break_storage(&self) {
        self.0.rows().broken = true;
    }
}

impl Storage {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Rows, Timestamp) -> T) -> T {
        let done = change(&mut self.rows(), self.ambient.now());
        self.changed.notify_waiters();
        done
    }
}

impl EngineInfo for VecEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Says what it does not do: publishing one id twice stores it twice, a job that crashed runs beside others, no
    /// queue is fair, and jobs with an order key are refused.
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::FULL;
        capabilities.dedupes_ids = false;
        capabilities.fair_share = false;
        capabilities.order_keys = false;
        capabilities.isolates_suspects = false;
        capabilities
    }
}

#[async_trait]
impl Publish for VecEngine {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        self.0.change(|rows, now| {
            if rows.broken {
                return Err(EngineError::new(ErrorClass::Defect, NAME, "no such column: payload"));
            }
            for envelope in &envelopes {
                rows.require(&envelope.queue)?;
                envelope.check_payload()?;
                envelope.refuse_order_key()?;
            }
            Ok(envelopes.into_iter().map(|envelope| rows.publish(envelope, now)).collect())
        })
    }
}

#[async_trait]
impl Consume for VecEngine {
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        queues.iter().try_for_each(QueueSpec::check)?;
        self.0.change(|rows, _| queues.iter().for_each(|queue| rows.declare(&queue.name)));
        Ok(())
    }

    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError> {
        let (sender, deliveries) = mpsc::channel(options.prefetch.max(1));
        let session = self.0.change(|rows, _| rows.subscribe(queue, options))?;
        let (alive, ended) = oneshot::channel();
        tokio::spawn(deliver(Arc::clone(&self.0), session, sender, alive));
        let settler = VecSettler { storage: Arc::clone(&self.0), session, stale: AtomicU64::new(0) };
        Ok(Consumer { deliveries, settler: Arc::new(settler), ended })
    }
}

#[async_trait]
impl Admin for VecEngine {
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        self.0.rows().depth(queue, self.0.ambient.now())
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        Ok(self.0.rows().queues())
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        Ok(self.0.rows().consumers(self.0.ambient.now()))
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), EngineError> {
        self.0.change(|rows, _| rows.set_paused(queue, paused))
    }

    async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.0.change(|rows, _| rows.purge(queue))
    }

    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        Ok(self.0.change(|rows, _| rows.cancel(id, reason)))
    }

    async fn retry_now(&self, id: JobId) -> Result<bool, EngineError> {
        self.0.change(|rows, now| rows.retry_now(id, now))
    }

    async fn alter(&self, id: JobId, alteration: Alteration) -> Result<bool, EngineError> {
        self.0.change(|rows, _| rows.alter(id, alteration))
    }

    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        Ok(self.0.rows().list(filter, self.0.ambient.now()))
    }

    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        Ok(self.0.rows().find(id, self.0.ambient.now()))
    }

    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        Ok(self.0.change(|rows, now| rows.redrive(filter, now)))
    }

    async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, EngineError> {
        Ok(self.0.change(|rows, now| rows.drop_dead(filter, now)))
    }
}

/// Hands jobs to one consumer, as many as it has room for, until its session ends. An engine with a server sends the
/// reason over `_alive` when the connection is lost.
async fn deliver(
    storage: Arc<Storage>,
    session: u64,
    sender: mpsc::Sender<Delivery>,
    _alive: oneshot::Sender<EngineError>,
) {
    loop {
        let mut changed = std::pin::pin!(storage.changed.notified());
        // Armed before the look, so that no change in between is missed.
        changed.as_mut().enable();
        let now = storage.ambient.now();
        let claim = storage.rows().claim(session, now);
        match claim {
            // The channel has room for the prefetch. Without a receiver, the settler's drop ends the session.
            Claim::Job(delivery) => drop(sender.send(*delivery).await),
            Claim::Wait(None) => changed.await,
            Claim::Wait(Some(due)) => {
                let pause = due.duration_since(now).unsigned_abs();
                drop(tokio::time::timeout(pause, changed).await);
            }
            Claim::End => return,
        }
    }
}

struct VecSettler {
    storage: Arc<Storage>,
    session: u64,
    stale: AtomicU64,
}

#[async_trait]
impl Settler for VecSettler {
    fn settle(&self, receipt: Receipt, settlement: Settlement) {
        if !self.storage.change(|rows, now| rows.settle(receipt, settlement, now)) {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stop(&self) {
        self.storage.change(|rows, _| rows.stop(self.session));
    }

    /// Settlements are final at once here; an engine with a server waits for its confirmations first.
    async fn close(&self) -> Result<(), EngineError> {
        self.storage.change(|rows, now| rows.leave(self.session, false, now));
        Ok(())
    }

    fn health(&self) -> ConsumerHealth {
        let stale_settlements = self.stale.load(Ordering::Relaxed);
        ConsumerHealth { last_contact: self.storage.ambient.now(), trouble: None, stale_settlements }
    }
}

/// A consumer that was dropped without `close` has crashed. A server notices by a lease or a lost connection.
impl Drop for VecSettler {
    fn drop(&mut self) {
        self.storage.change(|rows, now| rows.leave(self.session, true, now));
    }
}
