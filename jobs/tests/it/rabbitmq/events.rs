//! Events for outside consumers, read with an independent connection.

use futures::StreamExt;
use lapin::{
    options::{
        BasicConsumeOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use orderworks_jobs::{Publish, conformance::Harness, engine::Event};
use tokio::time::timeout;

use super::{PATIENCE, RECOVERY, RabbitHarness, until};
use crate::util::broker::needs_broker;

const EXCHANGE: &str = "orderworks.events";

fn event(id: &str, topic: &str) -> Event {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok();
    Event {
        id: id.to_owned(),
        topic: topic.to_owned(),
        source: "mer_1".to_owned(),
        body: format!(r#"{{"id":"{id}"}}"#),
        trace,
    }
}

/// Consumes with a queue of its own, as any AMQP client would.
async fn listen(
    harness: &RabbitHarness,
    topic: &str,
) -> (lapin::Connection, lapin::Channel, lapin::Consumer) {
    let url = harness.vhost.url();
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
    let connection = connection.await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    let (durable, none) =
        (ExchangeDeclareOptions { durable: true, ..Default::default() }, FieldTable::default());
    let kind = lapin::ExchangeKind::Topic;
    channel.exchange_declare(EXCHANGE.into(), kind, durable, none.clone()).await.expect("the exchange");
    let own = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), own, none.clone()).await.expect("a queue");
    let (name, bind) = (queue.name().clone(), QueueBindOptions::default());
    channel.queue_bind(name.clone(), EXCHANGE.into(), topic.into(), bind, none.clone()).await.expect("binds");
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let consumer = channel.basic_consume(name, "listener".into(), options, none).await.expect("listens");
    (connection, channel, consumer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_reach_only_who_bound_their_topic() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    engine
        .publish_events(vec![event("evt_0", "order.placed")])
        .await
        .expect("no consumer, which is no error");
    let (_connection, _channel, mut consumer) = listen(&harness, "order.*").await;
    let told = ["order.paid", "inventory.low", "order.fulfilled"];
    let told = told.iter().enumerate().map(|(n, topic)| event(&format!("evt_{}", n + 1), topic));
    engine.publish_events(told.collect()).await.expect("publishes");
    for (id, topic) in [("evt_1", "order.paid"), ("evt_3", "order.fulfilled")] {
        let got = timeout(PATIENCE, consumer.next()).await.expect("in time").expect("open").expect("well");
        let properties = &got.properties;
        assert_eq!(got.routing_key.as_str(), topic);
        assert_eq!(properties.message_id().as_ref().map(ToString::to_string).as_deref(), Some(id));
        assert_eq!(properties.kind().as_ref().map(ToString::to_string).as_deref(), Some(topic));
        assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
        assert_eq!(got.data, format!(r#"{{"id":"{id}"}}"#).into_bytes());
        let headers = properties.headers().as_ref().expect("headers").inner();
        assert!(headers.contains_key("traceparent") && headers.contains_key("ow-source"), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_exchange_is_declared_again() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    engine.publish_events(vec![event("evt_1", "order.paid")]).await.expect("publishes");
    let (_connection, channel, _consumer) = listen(&harness, "#").await;
    channel.exchange_delete(EXCHANGE.into(), ExchangeDeleteOptions::default()).await.expect("deletes");
    let again = || async { engine.publish_events(vec![event("evt_2", "order.paid")]).await.is_ok() };
    until("announcing works again", RECOVERY, again).await;
}
