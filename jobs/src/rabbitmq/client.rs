//! State of an engine handle, shared by publishing, consuming and administration.

use std::{
    collections::HashSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use base::Ambient;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    consume::{consumer::ConsumerShared, keys::Keys, solo::Solo},
    publish::publisher::Publisher,
    wire::connect::{Address, AdminConnection},
};
use crate::{
    engine::EngineError,
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
    pub(super) admin: AdminConnection,
    pub(super) control: watch::Sender<Arc<Control>>,
    pub(super) keys: Keys,
    pub(super) solo: Solo,
    /// Consumers of this handle.
    pub(super) consumers: Mutex<Vec<Weak<ConsumerShared>>>,
    pub(super) declared: Mutex<HashSet<String>>,
    /// Whether the events exchange is known to exist.
    pub(super) events_declared: AtomicBool,
    /// Held while a dead queue is scanned.
    pub(super) dead_scan: tokio::sync::Mutex<()>,
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
        let known: HashSet<String> = self.store.queues().await?.into_iter().collect();
        let missing = names.into_iter().find(|name| !known.contains(*name)).map(str::to_owned);
        *self.declared.lock() = known;
        missing.map_or(Ok(()), |name| Err(EngineError::NoSuchQueue(name)))
    }

    /// Reads pauses and cancel requests and passes them to the consumers of this handle.
    pub(super) async fn refresh_control(&self) -> Result<(), EngineError> {
        let control = Arc::new(self.store.control().await?);
        self.control.send_if_modified(|known| {
            let newer = control.version > known.version;
            if newer {
                *known = control;
            }
            newer
        });
        Ok(())
    }
}
