//! Publishing: plain jobs go straight to the broker, long delays to the job store, jobs of fair queues where
//! [`super::fair`] says, and those with an order key where [`super::order`] does; events go to the topic exchange
//! `orderworks.events`.
//!
//! A unique key is reserved before its job is published, for two minutes, and the reservation is confirmed afterwards.
//! A job that was published before and has ended, while the period of its key lasts, is a duplicate.
//! When it is certain that nothing was published, the key is free at once; when it is unknown, publishing again under
//! the same id renews the reservation, and else it ends. A process that dies between publishing and confirming leaves a
//! job whose key another one may take after these minutes.
//!
//! Guarantees for events: confirmed by the broker before the call returns, persistent, in the order of one call. An
//! outside consumer binds a queue of its own with the topics it wants (`order.*`, `#`); an event that no queue is bound
//! for is discarded, which is no error. An event published again has the same message id, so consumers can detect the
//! repetition.

pub(super) mod batch;
mod in_flight;
mod pipeline;
pub(super) mod publisher;
mod restorer;
pub(super) mod route;

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use base::Timestamp;

use self::{
    batch::Outgoing,
    route::{Route, route, scheduled as waiting},
};
use super::{
    client::{RabbitClient, RabbitEngine},
    wire::{headers::Meta, message, topology::EVENTS_EXCHANGE},
};
use crate::{
    engine::{EngineError, Event, KeyHolder, Publish, Published},
    envelope::Envelope,
    job_store::{KeyRequest, Reservation},
};

/// How long a unique key is reserved for a job whose publishing is not confirmed; far above the time of one call.
const RESERVED_FOR: Duration = Duration::from_mins(2);

#[async_trait]
impl Publish for RabbitEngine {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        let client = &self.client;
        envelopes.iter().try_for_each(message::check)?;
        let queues: HashSet<&str> = envelopes.iter().map(|envelope| envelope.queue.as_str()).collect();
        client.require_queues(queues).await?;
        let reserved_at = client.ambient.now();
        let until = Some(reserved_at + RESERVED_FOR);
        let reservations = client.reserve_until(envelopes.iter(), reserved_at, until).await?;
        let mut published = Vec::with_capacity(envelopes.len());
        let (mut outgoing, mut scheduled) = (Vec::with_capacity(envelopes.len()), Vec::new());
        let (mut keyed, mut fair, mut ordered) = (Vec::new(), Vec::new(), Vec::new());
        for (envelope, reservation) in envelopes.iter().zip(reservations) {
            let answer = match reservation {
                Reservation::Reserved => Published::Accepted,
                Reservation::Ended => Published::Duplicate,
                Reservation::Held(holder) => Published::NotUnique(holder),
            };
            published.push(answer);
            if answer != Published::Accepted {
                continue;
            }
            keyed.extend(envelope.unique_key.is_some().then_some(envelope.id));
            let at = envelope.run_at.filter(|&at| at > reserved_at);
            if envelope.order_key.is_some() {
                ordered.push(waiting(envelope, Meta::default(), at.unwrap_or(reserved_at)));
                continue;
            }
            if client.fair.is_fair(&envelope.queue) && (at.is_none() || !client.fair.is_suspended()) {
                let job = waiting(envelope, Meta::default(), at.unwrap_or(reserved_at));
                // Short delays, too: from the delay ladder a flood would come to the broker's queue at once.
                let target = if at.is_some() { &mut scheduled } else { &mut fair };
                target.push(job);
                continue;
            }
            match route(envelope, Meta::default(), envelope.run_at, &client.ambient) {
                Route::Publish(message) => outgoing.push(message),
                Route::Schedule(job) => scheduled.push(job),
            }
        }
        let none_stored = scheduled.is_empty() && ordered.is_empty();
        if !scheduled.is_empty() {
            client.store.schedule(scheduled).await?;
        }
        client.line_up(ordered).await?;
        let (direct, held) = client.admit(fair).await;
        outgoing.extend(direct);
        if let Err(failed) = client.publisher.try_publish(outgoing).await {
            if none_stored && !failed.may_be_stored && !keyed.is_empty() {
                // Without it, they end by themselves.
                drop(client.store.withdraw(&keyed, reserved_at).await);
            }
            return Err(failed.error);
        }
        client.hold(held).await?;
        if !keyed.is_empty() {
            client.store.confirm(&keyed).await?;
        }
        Ok(published)
    }

    async fn publish_events(&self, events: Vec<Event>) -> Result<(), EngineError> {
        let outgoing = events.into_iter().map(|event| Outgoing {
            exchange: EVENTS_EXCHANGE.to_owned(),
            routing_key: event.topic.clone(),
            raw: message::event_message(event),
        });
        self.client.publisher.publish(outgoing.collect()).await
    }
}

impl RabbitClient {
    /// Reserves the unique keys of jobs that exist already. Returns for each job the other one that holds its key.
    pub(super) async fn reserve<'e>(
        &self,
        envelopes: impl Iterator<Item = &'e Envelope> + Clone,
    ) -> Result<Vec<Option<KeyHolder>>, EngineError> {
        let reservations = self.reserve_until(envelopes, self.ambient.now(), None).await?;
        Ok(reservations.into_iter().map(Reservation::holder).collect())
    }

    /// The same for new jobs, until a time. While it is unknown whether such a job was published, its reservation
    /// stays, and publishing again under the same id renews it.
    async fn reserve_until<'e>(
        &self,
        envelopes: impl Iterator<Item = &'e Envelope> + Clone,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Vec<Reservation>, EngineError> {
        let keys: Vec<KeyRequest> = envelopes.clone().filter_map(KeyRequest::of).collect();
        let answers =
            if keys.is_empty() { Vec::new() } else { self.store.reserve_until(keys, now, until).await? };
        let mut answers = answers.into_iter();
        let answer = |e: &Envelope| e.unique_key.as_ref().and_then(|_| answers.next());
        Ok(envelopes.map(answer).map(|answer| answer.unwrap_or(Reservation::Reserved)).collect())
    }
}
