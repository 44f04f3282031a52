//! Questions of a delivery to the job store before it starts: whether its job holds its order key, and that a unique
//! key which is held while its job waits is freed.
//!
//! Guarantees: of the jobs of an order key only its head is dispatched; a copy of another one, which a crash has left,
//! is dropped. A delivery is dispatched only once such a unique key is free, so a second job is accepted that sees what
//! the first one no longer could; one that is then given back waits without its key. While the store is away the
//! delivery goes back and comes again.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinError, time::timeout};

use super::state::{ConsumerSession, MayStart, StoreAnswer};
use crate::{
    engine::EngineError,
    envelope::Envelope,
    rabbitmq::{
        client::RabbitClient,
        consume::{outcome::DeliveryOutcome, priority_channel::DeliveryStage},
        publish::route::STORE_PATIENCE,
        wire::fault::unavailable,
    },
    unique::UniqueStates,
};

/// How long a delivery is put aside for which the store had no answer.
const ASIDE_FOR: Duration = Duration::from_secs(1);

/// Whether the job holds a unique key until it is fetched, and not after that.
pub(super) fn is_freed_when_fetched(envelope: &Envelope) -> bool {
    envelope.unique_key.is_some() && envelope.unique.states() == UniqueStates::Waiting
}

/// Whether the store is asked before a delivery of this job starts.
pub(super) fn asks_store(envelope: &Envelope) -> bool {
    envelope.order_key.is_some() || is_freed_when_fetched(envelope)
}

async fn may_start(client: &RabbitClient, envelope: &Envelope) -> Result<bool, EngineError> {
    if !client.holds_order_key(envelope).await? {
        return Ok(false);
    }
    if is_freed_when_fetched(envelope) {
        client.store.release(&[envelope.id]).await?;
    }
    Ok(true)
}

impl ConsumerSession {
    /// Asks the store for a delivery, which waits for [`Self::store_answered`].
    pub(super) fn ask_store(&mut self, channel: usize, tag: u64) {
        let slot = self.channels[channel].window.get(tag);
        let Some((envelope, _)) = slot.and_then(|slot| slot.job()) else { return };
        let (inner, envelope) = (self.plan.inner.clone(), Arc::clone(envelope));
        self.asking.spawn(async move {
            let may_start = match timeout(STORE_PATIENCE, may_start(&inner, &envelope)).await {
                Ok(Ok(true)) => MayStart::Yes,
                Ok(Ok(false)) => MayStart::Never,
                Ok(Err(_)) | Err(_) => MayStart::Unknown,
            };
            (channel, tag, may_start)
        });
    }

    /// Lets the delivery start, drops it, or puts it aside.
    pub(super) fn store_answered(
        &mut self,
        answered: Result<StoreAnswer, JoinError>,
    ) -> Result<(), EngineError> {
        let (channel, tag, may_start) = answered
            .map_err(|error| unavailable(format!("job store not asked, the task failed: {error}")))?;
        let target = &mut self.channels[channel];
        // It may have been given back or cancelled meanwhile.
        let slot = target.window.get(tag).filter(|slot| slot.stage == DeliveryStage::Waiting);
        let Some(slot) = slot else { return Ok(()) };
        let is_suspect = slot.job().is_some_and(|(_, meta)| meta.alone.is_some());
        match may_start {
            MayStart::Unknown => {
                let later = self.plan.inner.ambient.now() + ASIDE_FOR;
                self.conclude(channel, tag, DeliveryOutcome::Again(Some(later)));
            }
            MayStart::Never => self.conclude(channel, tag, DeliveryOutcome::Stale),
            MayStart::Yes if is_suspect => self.start_alone(channel, tag),
            MayStart::Yes => target.ready.push_back(tag),
        }
        Ok(())
    }
}
