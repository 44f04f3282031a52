//! Consumers in adversity that is not theirs: limits of the server, other consumers, keys in use.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base::testing::Proxy;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use orderworks_jobs::{
    Admin, Envelope, ErrorClass, JobId, Priority, Publish,
    conformance::Harness,
    engine::{Delivery, JobFilter, JobState, Settlement},
};
use tokio::time::{Instant, timeout};

use super::{
    PATIENCE, QUEUE, RECOVERY, RabbitHarness, consume, envelope, inject, open, publish, take, try_consume,
    until, work_off,
};
use crate::util::broker::{self, Vhost, needs_broker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_connections_is_an_outage_and_no_refusal() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let late = open(&harness.vhost.url(), harness.folder.path()).await;
    harness.vhost.limit_connections(r#"{"value": 0}"#).await;
    let refused = try_consume(&late, 1).await.err().expect("no connection is let in");
    assert_eq!(refused.class(), Some(ErrorClass::Unavailable), "{refused}");
    harness.vhost.limit_connections(r#"{"value": -1}"#).await;
    until("it consumes", RECOVERY, || async { try_consume(&late, 1).await.is_ok() }).await;
}

/// As it leaves the rung after an outage of the job store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_delay_on_the_ladder_moves_to_the_job_store() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let (id, now) = (JobId::fresh(harness.ambient()), harness.ambient().now().as_millisecond());
    let (hour, rung) = (3_600_000, 60_000);
    let mut headers = FieldTable::default();
    for (name, value) in
        [("ow-created-at", now - rung), ("ow-not-before", now - rung + hour), ("ow-left-ms", hour - rung)]
    {
        headers.insert(name.into(), AMQPValue::LongLongInt(value));
    }
    let properties = lapin::BasicProperties::default()
        .with_message_id(id.to_string().as_str().into())
        .with_type("pack_parcel".into())
        .with_app_id("orderworks/1".into())
        .with_headers(headers);
    inject(&harness.vhost, QUEUE, b"{}", properties).await;
    let _consumer = consume(engine, 1).await;
    let delayed = JobFilter { state: Some(JobState::Delayed), limit: 9, ..JobFilter::default() };
    until("it waits in the job store", PATIENCE, || async {
        engine.list(&delayed).await.expect("lists").iter().any(|job| job.envelope.id == id)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_consumer_leaves_other_priorities_to_an_idle_one() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let mut full = consume(engine, 16).await;
    let urgent = (0..16).map(|_| Envelope { priority: Priority::Critical, ..envelope() });
    engine.publish(urgent.collect()).await.expect("publishes");
    let mut slow: Vec<Delivery> = Vec::new();
    for _ in 0..16 {
        slow.push(take(&mut full).await);
    }
    let waiting: HashSet<JobId> = publish(engine, 12).await;
    let held = || async { engine.depth(QUEUE).await.expect("depth").running == 28 };
    until("the full consumer holds them", PATIENCE, held).await;
    let mut idle = consume(&open(&harness.vhost.url(), harness.folder.path()).await, 16).await;
    let came = Instant::now();
    assert_eq!(work_off(&mut idle, waiting).await, 12);
    assert!(came.elapsed() < Duration::from_secs(3), "{:?}", came.elapsed());
    assert!(slow.iter().all(|delivery| delivery.signal.interrupt().is_none()), "its runs go on");
    idle.settler.close().await.expect("closes");
    // With free slots it takes them again, more than one at a time after a moment.
    for delivery in slow {
        full.settler.settle(delivery.receipt, Settlement::Done);
    }
    let more = publish(engine, 40).await;
    work_off(&mut full, more).await;
    publish(engine, 16).await;
    for _ in 0..16 {
        take(&mut full).await;
    }
    assert_eq!(full.settler.health().stale_settlements, 0);
}

/// Copies what is published to these rungs of the delay ladder from now on into queues of the test.
async fn copy_rungs(vhost: &Vhost, rungs: [&str; 3]) -> (Connection, Channel) {
    let connection =
        Connection::connect(&vhost.url(), ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    for rung in rungs {
        let (queue, exchange) = (format!("copy.{rung}"), format!("ow.delay.{rung}"));
        let (queue, exchange) = (queue.as_str(), exchange.as_str());
        let (options, none) = (QueueDeclareOptions::default(), FieldTable::default());
        channel.queue_declare(queue.into(), options, none.clone()).await.expect("declares");
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.into(), exchange.into(), "#".into(), options, none).await.expect("binds");
    }
    (connection, channel)
}

/// Number of messages published to a rung.
async fn published(channel: &Channel, rung: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let name = format!("copy.{rung}");
    let queue = channel.queue_declare(name.as_str().into(), passive, FieldTable::default()).await;
    queue.expect("is there").message_count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_busy_key_wait_longer_each_time() {
    const WAITING: u32 = 40;
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let rungs = ["1000ms.v2", "4720ms.v2", "17800ms.v2"];
    // Declares the rungs, which it counts.
    assert_eq!(engine.short_delays().await.expect("counts"), 0);
    let (_connection, copies) = copy_rungs(&harness.vhost, rungs).await;
    let mut consumer = consume(engine, 4).await;
    let keyed = (0..=WAITING).map(|_| Envelope { concurrency_key: Some("printer".to_owned()), ..envelope() });
    engine.publish(keyed.collect()).await.expect("publishes");
    let first = take(&mut consumer).await;
    // Two are held here, half of the prefetch.
    let all_aside = || async { published(&copies, rungs[2]).await >= WAITING - 2 };
    until("the others wait a third time", RECOVERY, all_aside).await;
    let mut messages = 0;
    for rung in rungs {
        messages += published(&copies, rung).await;
    }
    assert!(messages <= 3 * WAITING, "{messages} messages for {WAITING} waiting jobs");
    consumer.settler.settle(first.receipt, Settlement::Done);
    let next = take(&mut consumer).await;
    assert!(next.envelope.concurrency_key.is_some() && next.envelope.id != first.envelope.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_consumer_was_lost_keeps_its_job_and_its_key_until_it_ends() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let proxy = Proxy::start(broker::address()).await;
    let mut consumer = consume(&harness.by(proxy.port).await, 5).await;
    let keyed = || Envelope { concurrency_key: Some("printer".to_owned()), ..envelope() };
    harness.engine.publish(vec![envelope(), keyed(), keyed()]).await.expect("publishes");
    let (plain, first) = (take(&mut consumer).await, take(&mut consumer).await);
    assert!(plain.envelope.concurrency_key.is_none() && first.envelope.concurrency_key.is_some());
    // Held by the runs.
    let lost = Arc::clone(&consumer.settler);
    proxy.cut();
    consumer.renew().await;
    // They are delivered again, but their runs go on.
    let came = timeout(Duration::from_secs(2), consumer.consumer.deliveries.recv()).await;
    assert!(came.is_err(), "{came:?}");
    lost.settle(plain.receipt, Settlement::Done);
    let again = take(&mut consumer).await;
    assert_eq!((again.envelope.id, again.crashes), (plain.envelope.id, 1));
    let came = timeout(Duration::from_secs(1), consumer.consumer.deliveries.recv()).await;
    assert!(came.is_err(), "{came:?}");
    drop(lost);
    let next = take(&mut consumer).await;
    assert!(next.envelope.concurrency_key.is_some());
    consumer.settler.settle(next.receipt, Settlement::Done);
    assert_ne!(take(&mut consumer).await.envelope.id, next.envelope.id);
}
