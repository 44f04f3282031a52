//! Questions to the broker beside a session, about the queue of one of its priorities.
//!
//! Guarantees: a session does not wait for an answer, and is not ended for a late one before two heartbeats have passed
//! without any, as its connection is not either; so a broker that stalls for seconds costs no delivery. The last answer
//! is the last contact of the consumer.

use std::time::Duration;

use lapin::{Channel, options::QueueDeclareOptions, types::FieldTable};
use tokio::{task::JoinError, time::timeout};

use super::state::{ConsumerSession, ProbeAnswer};
use crate::{
    engine::EngineError,
    rabbitmq::wire::fault::{self, NOT_FOUND, broken, unavailable},
};

/// Longest wait for an answer: two heartbeats of a connection.
const SILENCE_MAX: Duration = Duration::from_secs(20);

impl ConsumerSession {
    /// Asks whether the queue of a channel exists, unless the last question is still open.
    pub(super) fn probe(&mut self, index: usize) {
        let target = &mut self.channels[index];
        if !std::mem::replace(&mut target.probed, true) {
            let (channel, queue) = (target.channel.clone(), target.queue().to_owned());
            self.probes.spawn(async move { (index, consumers_of(&channel, &queue).await) });
        }
    }

    /// Takes an answer. An error, also that the queue does not exist, ends the session.
    pub(super) async fn answered(
        &mut self,
        answer: Result<ProbeAnswer, JoinError>,
    ) -> Result<(), EngineError> {
        let (index, consumers) = answer.map_err(|error| unavailable(format!("probe failed: {error}")))?;
        self.channels[index].probed = false;
        let consumers = consumers?;
        self.plan.shared.health.in_contact(self.plan.inner.ambient.now());
        if consumers > 1 && self.hoards(index) {
            self.hold_back(index).await?;
        }
        Ok(())
    }
}

async fn consumers_of(channel: &Channel, queue: &str) -> Result<u32, EngineError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match timeout(SILENCE_MAX, channel.queue_declare(queue.into(), passive, FieldTable::default())).await {
        Ok(Ok(found)) => Ok(found.consumer_count()),
        Ok(Err(error)) if fault::code(&error) == Some(NOT_FOUND) => {
            Err(unavailable(format!("broker has no queue `{queue}`")))
        }
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(unavailable("no reply from the broker for two heartbeats")),
    }
}
