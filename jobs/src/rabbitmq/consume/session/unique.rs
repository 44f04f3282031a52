//! Unique keys that are held while their jobs wait: freed before such a job starts.
//!
//! Guarantees: a delivery is dispatched only once its key is free in the job store, so a second job is accepted that
//! sees what the first one no longer could. While the store is away the delivery goes back and comes again, rather than
//! start with its key held. A delivery that is then given back waits without its key.

use std::time::Duration;

use tokio::{task::JoinError, time::timeout};

use super::state::{ConsumerSession, FreedKey};
use crate::{
    engine::EngineError,
    envelope::{Envelope, JobId},
    rabbitmq::{
        consume::{outcome::DeliveryOutcome, priority_channel::DeliveryStage},
        publish::route::STORE_PATIENCE,
        wire::fault::unavailable,
    },
    unique::UniqueStates,
};

/// How long a delivery is put aside whose key could not be freed.
const KEY_ASIDE: Duration = Duration::from_secs(1);

/// Whether the job holds a key until it is fetched, and not after that.
pub(super) fn is_freed_when_fetched(envelope: &Envelope) -> bool {
    envelope.unique_key.is_some() && envelope.unique.states() == UniqueStates::Waiting
}

impl ConsumerSession {
    /// Frees the key of a delivery that waits for [`Self::key_freed`].
    pub(super) fn free_key(&mut self, channel: usize, tag: u64, id: JobId) {
        let inner = self.plan.inner.clone();
        self.freeing.spawn(async move {
            let freed = timeout(STORE_PATIENCE, inner.store.release(&[id])).await;
            (channel, tag, matches!(freed, Ok(Ok(()))))
        });
    }

    /// Lets the delivery start, or puts it aside.
    pub(super) fn key_freed(&mut self, freed: Result<FreedKey, JoinError>) -> Result<(), EngineError> {
        let (channel, tag, is_free) =
            freed.map_err(|error| unavailable(format!("key not freed, the task failed: {error}")))?;
        let target = &mut self.channels[channel];
        // It may have been given back or cancelled meanwhile.
        let slot = target.window.get(tag).filter(|slot| slot.stage == DeliveryStage::Waiting);
        let Some(slot) = slot else { return Ok(()) };
        let is_suspect = slot.job().is_some_and(|(_, meta)| meta.alone.is_some());
        if !is_free {
            let later = self.plan.inner.ambient.now() + KEY_ASIDE;
            self.conclude(channel, tag, DeliveryOutcome::Again(Some(later)));
        } else if is_suspect {
            self.start_alone(channel, tag);
        } else {
            target.ready.push_back(tag);
        }
        Ok(())
    }
}
