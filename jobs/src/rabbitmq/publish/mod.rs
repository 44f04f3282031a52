//! Publishing: plain jobs go straight to the broker, unique ones after their key is reserved, long delays to the job
//! store; events go to the topic exchange `orderworks.events`.
//!
//! Guarantees for events: confirmed by the broker before the call returns, persistent, in the order of one call. An
//! outside consumer binds a queue of its own with the topics it wants (`order.*`, `#`); an event that no queue is bound
//! for is discarded, which is no error. An event published again has the same message id, so consumers can detect the
//! repetition.

pub(super) mod batch;
mod pipeline;
pub(super) mod publisher;
pub(super) mod route;

use std::{collections::HashSet, sync::atomic::Ordering};

use async_trait::async_trait;

use self::{
    batch::Outgoing,
    route::{Route, route},
};
use super::{
    client::{RabbitClient, RabbitEngine},
    wire::{
        fault::answer,
        headers::Meta,
        message,
        topology::{self, EVENTS_EXCHANGE},
    },
};
use crate::{
    engine::{EngineError, Event, Publish, Published},
    envelope::{Envelope, JobId},
};

#[async_trait]
impl Publish for RabbitEngine {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        let client = &self.client;
        envelopes.iter().try_for_each(message::check)?;
        let queues: HashSet<&str> = envelopes.iter().map(|envelope| envelope.queue.as_str()).collect();
        client.require_queues(queues).await?;
        let holders = client.reserve(envelopes.iter()).await?;
        let mut published = Vec::with_capacity(envelopes.len());
        let (mut outgoing, mut scheduled) = (Vec::with_capacity(envelopes.len()), Vec::new());
        for (envelope, holder) in envelopes.iter().zip(holders) {
            if let Some(other) = holder {
                published.push(Published::NotUnique(other));
                continue;
            }
            published.push(Published::Accepted);
            match route(envelope, Meta::default(), envelope.run_at, &client.ambient) {
                Route::Publish(message) => outgoing.push(message),
                Route::Schedule(job) => scheduled.push(job),
            }
        }
        if !scheduled.is_empty() {
            client.store.schedule(scheduled).await?;
        }
        client.publisher.publish(outgoing).await?;
        Ok(published)
    }

    async fn publish_events(&self, events: Vec<Event>) -> Result<(), EngineError> {
        let client = &self.client;
        if !client.events_declared.load(Ordering::Relaxed) {
            let channel = client.admin.channel().await?;
            topology::declare_exchange(&channel, EVENTS_EXCHANGE).await?;
            answer(channel.close(200, "declared".into())).await?;
            client.events_declared.store(true, Ordering::Relaxed);
        }
        let outgoing = events.into_iter().map(|event| Outgoing {
            exchange: EVENTS_EXCHANGE.to_owned(),
            routing_key: event.topic.clone(),
            raw: message::event_message(event),
        });
        let published = client.publisher.publish(outgoing.collect()).await;
        if published.is_err() {
            // The exchange may have been deleted: declared again before the next attempt.
            client.events_declared.store(false, Ordering::Relaxed);
        }
        published
    }
}

impl RabbitClient {
    /// Returns for each job the other one that holds its unique key. Keys are reserved before publishing and kept when
    /// publishing fails: the outcome is unknown then, and a second publish under the same id finds its own reservation.
    pub(super) async fn reserve<'e>(
        &self,
        envelopes: impl Iterator<Item = &'e Envelope> + Clone,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        let keys: Vec<_> =
            envelopes.clone().filter_map(|e| Some((e.unique_key.clone()?, e.queue.clone(), e.id))).collect();
        let mut holders =
            if keys.is_empty() { Vec::new() } else { self.store.reserve(keys, self.ambient.now()).await? }
                .into_iter();
        Ok(envelopes.map(|e| e.unique_key.as_ref().and_then(|_| holders.next().flatten())).collect())
    }
}
