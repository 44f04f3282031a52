//! A consumer of the in-memory engine: delivers jobs and takes settlements.

use std::sync::Arc;

use async_trait::async_trait;
use base::time::between;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{queue::MemoryQueue, state::Claim};
use crate::engine::{Consumer, ConsumerHealth, Delivery, EngineError, Receipt, Settlement, Settler};

pub(super) fn start(inner: Arc<MemoryQueue>, session: u64, prefetch: usize) -> Consumer {
    let (sender, deliveries) = mpsc::channel(prefetch.max(1));
    let (alive, ended) = oneshot::channel();
    tokio::spawn(dispatch(Arc::clone(&inner), session, sender, alive));
    Consumer { deliveries, settler: Arc::new(MemorySettler { inner, session }), ended }
}

/// Delivers jobs to the session while it exists and has free slots. A consumer of this engine ends only with it.
async fn dispatch(
    inner: Arc<MemoryQueue>,
    session: u64,
    sender: mpsc::Sender<Delivery>,
    _alive: oneshot::Sender<EngineError>,
) {
    loop {
        let mut changed = std::pin::pin!(inner.changed.notified());
        changed.as_mut().enable();
        let now = inner.ambient.now();
        let claim = inner.state.lock().claim(session, now);
        match claim {
            Claim::Job(delivery) => {
                inner.changed.notify_waiters();
                // Capacity is guaranteed: the state claims no more than the prefetch. A closed receiver is ignored
                // here: the settler's drop tells that the consumer is gone.
                if sender.send(*delivery).await.is_err() {
                    return;
                }
            }
            Claim::Wait(None) => changed.await,
            Claim::Wait(Some(at)) => tokio::select! {
                () = changed => {}
                () = sleep(between(now, at)) => {}
            },
            Claim::End => return,
        }
    }
}

struct MemorySettler {
    inner: Arc<MemoryQueue>,
    session: u64,
}

#[async_trait]
impl Settler for MemorySettler {
    fn settle(&self, receipt: Receipt, settlement: Settlement) {
        self.inner.change(|state, now| state.settle(self.session, receipt, settlement, now));
    }

    fn stop(&self) {
        self.inner.change(|state, _| state.stop(self.session));
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.inner.change(|state, now| state.leave(self.session, false, now));
        Ok(())
    }

    fn health(&self) -> ConsumerHealth {
        let (closed, stale_settlements) =
            self.inner.look(|state| (state.closed, state.stale_settlements(self.session)));
        let trouble = closed.then(|| "the engine is closed".to_owned());
        ConsumerHealth { last_contact: self.inner.ambient.now(), trouble, stale_settlements }
    }
}

impl Drop for MemorySettler {
    fn drop(&mut self) {
        // After a close no job is left to lose.
        self.inner.change(|state, now| state.leave(self.session, true, now));
    }
}
