//! State of an engine handle, shared by publishing, consuming and administration.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use base::Ambient;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    consume::{consumer::ConsumerShared, keys::Keys, solo::Solo},
    fair::views::FairViews,
    publish::publisher::Publisher,
    wire::connect::{Address, AdminConnection},
};
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{Control, JobStore},
};

/// Queues in a broker. Clones share the connections.
#[derive(Clone)]
pub struct RabbitEngine {
    pub(super) client: Arc<RabbitClient>,
}

pub(super) struct RabbitClient {
    pub(super) address: Address,
    pub(super) ambient: Ambient,
    pub(super) store: Arc<dyn JobStore>,
    pub(super) publisher: Publisher,
    pub(super) admin: Arc<AdminConnection>,
    pub(super) control: watch::Sender<Arc<Control>>,
    /// Number of reads of pauses and cancel requests that have begun, and the number of the last one applied.
    pub(super) control_reads: AtomicU64,
    pub(super) control_applied: AtomicU64,
    pub(super) keys: Arc<Keys>,
    pub(super) solo: Solo,
    /// What this handle knows of fair queues.
    pub(super) fair: Arc<FairViews>,
    /// Wakes the task that publishes heads of order keys.
    pub(super) heads_due: Arc<Notify>,
    /// Consumers of this handle.
    pub(super) consumers: Mutex<Vec<Weak<ConsumerShared>>>,
    pub(super) declared: Mutex<HashSet<String>>,
    /// Ended jobs whose unique keys and cancel requests are still in the job store, which was away.
    pub(super) uncleared: Mutex<Vec<JobId>>,
    /// Held while a dead queue is emptied, so that its messages are in the job store when the next turn begins.
    pub(super) draining: tokio::sync::Mutex<()>,
}

impl RabbitClient {
    pub(super) fn add_consumer(&self, shared: &Arc<ConsumerShared>) {
        let mut consumers = self.consumers.lock();
        consumers.retain(|c| c.strong_count() > 0);
        consumers.push(Arc::downgrade(shared));
    }

    pub(super) fn consumers_of(&self, queue: &str) -> Vec<Arc<ConsumerShared>> {
        let consumers = self.consumers.lock();
        consumers.iter().filter_map(Weak::upgrade).filter(|c| c.queue == queue).collect()
    }

    /// Job queues that this handle consumes.
    pub(super) fn consumed_queues(&self) -> BTreeSet<String> {
        let consumers = self.consumers.lock();
        consumers.iter().filter_map(Weak::upgrade).map(|consumer| consumer.queue.clone()).collect()
    }

    /// Whether a job of this handle runs; a lost consumer counts until the last of its runs has ended.
    pub(super) fn is_busy(&self) -> bool {
        let consumers = self.consumers.lock();
        let mut live = consumers.iter().filter_map(Weak::upgrade);
        live.any(|consumer| consumer.handed_out.load(Ordering::SeqCst) > 0)
    }

    /// Returns [`EngineError::NoSuchQueue`] unless all queues are declared.
    pub(super) async fn require_queues(&self, names: HashSet<&str>) -> Result<(), EngineError> {
        if names.iter().all(|name| self.declared.lock().contains(*name)) {
            return Ok(());
        }
        self.refresh_fair().await?;
        let known: HashSet<String> = self.store.queues().await?.into_iter().collect();
        let missing = names.into_iter().find(|name| !known.contains(*name)).map(str::to_owned);
        *self.declared.lock() = known;
        missing.map_or(Ok(()), |name| Err(EngineError::NoSuchQueue(name)))
    }

    /// Reads pauses and cancel requests and passes them to the consumers of this handle. Any other version than the
    /// known one is taken: that of a store restored from a backup is lower.
    pub(super) async fn refresh_control(&self) -> Result<(), EngineError> {
        let read = self.control_reads.fetch_add(1, Ordering::SeqCst) + 1;
        let control = Arc::new(self.store.control().await?);
        self.control.send_if_modified(|known| {
            // A read that began before the last one applied may be older.
            let is_late = self.control_applied.fetch_max(read, Ordering::SeqCst) > read;
            let is_other = !is_late && control.version != known.version;
            if is_other {
                *known = control;
            }
            is_other
        });
        Ok(())
    }
}
