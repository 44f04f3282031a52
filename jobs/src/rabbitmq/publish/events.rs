//! Events for outside consumers, published to the topic exchange `orderworks.events`.
//!
//! Guarantees: confirmed by the broker before the call returns, persistent, in the order of one call. An outside
//! consumer binds a queue of its own with the topics it wants (`order.*`, `#`); an event that no queue is bound for is
//! discarded, which is no error. An event published again has the same message id, so consumers can detect the
//! repetition.

use std::sync::atomic::Ordering;

use super::publisher::Outgoing;
use crate::{
    engine::{EngineError, Event},
    rabbitmq::{
        RabbitClient,
        wire::{
            fault::answer,
            message,
            topology::{self, EVENTS_EXCHANGE},
        },
    },
};

impl RabbitClient {
    pub(crate) async fn publish_events(&self, news: Vec<Event>) -> Result<(), EngineError> {
        if !self.announcing.load(Ordering::Relaxed) {
            let channel = self.admin.channel().await?;
            topology::declare_exchange(&channel, EVENTS_EXCHANGE).await?;
            answer(channel.close(200, "declared".into())).await?;
            self.announcing.store(true, Ordering::Relaxed);
        }
        let outgoing = news.into_iter().map(|news| Outgoing {
            exchange: EVENTS_EXCHANGE.to_owned(),
            routing_key: news.topic.clone(),
            raw: message::event_message(news),
        });
        let told = self.publisher.publish(outgoing.collect()).await;
        if told.is_err() {
            // The exchange may have been deleted: declared again before the next attempt.
            self.announcing.store(false, Ordering::Relaxed);
        }
        told
    }
}
