//! Telling programs outside what happened, over the topic exchange `orderworks.events`.
//!
//! Guarantees: confirmed by the broker before it is answered, persistent, in order of one call. A listener binds a
//! queue of its own with the topics it wants (`order.*`, `#`); what no queue is bound for is gone, which is no error.
//! The message id is the same when an event is told again, so listeners can tell repetitions.

use std::sync::atomic::Ordering;

use super::{
    RabbitClient,
    fault::answer,
    message,
    publisher::Outgoing,
    topology::{self, EVENTS_EXCHANGE},
};
use crate::engine::{EngineError, Event};

impl RabbitClient {
    pub(super) async fn publish_events(&self, news: Vec<Event>) -> Result<(), EngineError> {
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
            // Somebody may have deleted it: looked at again before the next try.
            self.announcing.store(false, Ordering::Relaxed);
        }
        told
    }
}
