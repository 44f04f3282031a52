//! Foreign messages, and queues of other programs and releases.

use std::{collections::HashSet, time::Duration};

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use orderworks_jobs::{
    Admin, Consume, Envelope, JobId, Priority, Publish, Timestamp,
    conformance::Harness,
    engine::{DeadFilter, DeadReason, EngineError, JobFilter, JobState, QueueSpec, Settlement},
};

use super::{
    PATIENCE, QUEUE, RabbitHarness, consume, envelope, inject, inject_into, publish, take, until, work_off,
    work_queue,
};
use crate::util::broker::needs_broker;

fn headers(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in entries {
        headers.insert((*name).into(), value.clone());
    }
    headers
}

/// Properties of a valid message, except for the headers a test changes.
fn ours(spoilt: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut table = headers(&[
        ("ow-attempt", AMQPValue::LongLongInt(0)),
        ("ow-max-attempts", AMQPValue::LongLongInt(5)),
        ("ow-version", AMQPValue::LongLongInt(1)),
        ("ow-created-at", AMQPValue::LongLongInt(0)),
    ]);
    for (name, value) in spoilt {
        table.insert((*name).into(), value.clone());
    }
    BasicProperties::default()
        .with_message_id("job_01900000-0000-7000-8000-000000000001".into())
        .with_type("pack_parcel".into())
        .with_app_id("orderworks/1".into())
        .with_headers(table)
}

fn unreadable() -> Vec<(BasicProperties, Vec<u8>)> {
    let long = |text: &str| AMQPValue::LongString(text.into());
    let good = b"{}".to_vec();
    vec![
        (BasicProperties::default(), vec![0xff, 0, 0xfe]),
        (BasicProperties::default(), Vec::new()),
        (ours(&[]), b"{\"half\": ".to_vec()),
        (ours(&[]), vec![b'"', 0xc3, 0x28, b'"']),
        (ours(&[("ow-attempt", long("three"))]), good.clone()),
        (ours(&[("ow-attempt", AMQPValue::LongLongInt(-1))]), good.clone()),
        (ours(&[("ow-version", AMQPValue::LongLongInt(70_000))]), good.clone()),
        (ours(&[("ow-created-at", AMQPValue::LongLongInt(i64::MAX))]), good.clone()),
        (ours(&[("ow-subject", AMQPValue::LongString(vec![0xff, 0xfe].into()))]), good.clone()),
        (ours(&[("traceparent", long("00-zz"))]), good.clone()),
        (ours(&[("ow-last-error", AMQPValue::Boolean(true))]), good.clone()),
        (ours(&[]).with_app_id("orderworks/9".into()), good.clone()),
        (ours(&[]).with_message_id("ord_1".into()), good.clone()),
        // Headers that fill a frame: the dead letter's own would not fit beside them.
        (
            BasicProperties::default()
                .with_headers(headers(&[("big", AMQPValue::LongString(vec![b'x'; 130_900].into()))])),
            good.clone(),
        ),
        // Properties with an effect in the dead queue: an expiration, a further copy, a made-up history.
        (BasicProperties::default().with_expiration("3600000".into()), good.clone()),
        (
            BasicProperties::default().with_headers(headers(&[
                ("CC", AMQPValue::FieldArray(vec![long(&work_queue(QUEUE, "bulk"))].into())),
                ("x-death", long("nonsense")),
                ("nested", AMQPValue::FieldTable(headers(&[("a", AMQPValue::Void)]))),
            ])),
            vec![b'x'; 300_000],
        ),
    ]
}

/// The first message of the queue, as the management API shows it.
async fn peek(harness: &RabbitHarness) -> String {
    let path = format!("/api/queues/{{}}/{}/get", work_queue(QUEUE, "default"));
    let request = r#"{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}"#;
    let (status, body) = harness.vhost.post(&path, request).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_any_bytes_and_headers_become_dead_letters_and_the_consumer_lives() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let mut consumer = consume(engine, 3).await;
    let messages = unreadable();
    // The message with CC arrives twice.
    let count = messages.len() as u64 + 1;
    for (properties, body) in messages {
        inject(&harness.vhost, QUEUE, &body, properties).await;
    }
    let dead = || async { engine.depth(QUEUE).await.expect("depth").dead == count };
    until("all are dead", PATIENCE, dead).await;
    let ids = publish(engine, 5).await;
    work_off(&mut consumer, ids).await;
    assert!(consumer.settler.health().trouble.is_none());
    let filter = JobFilter { state: Some(JobState::Dead), limit: 100, ..JobFilter::default() };
    let listed = engine.list(&filter).await.expect("lists");
    assert_eq!(listed.len() as u64, count);
    for job in &listed {
        assert!(job.dead.as_ref().is_some_and(|dead| dead.reason == DeadReason::Undecodable), "{job:?}");
        assert!(job.last_error.as_ref().is_some_and(|error| !error.is_empty()), "{job:?}");
    }
    // Redriven, each is sent to the dead queue again without extra copies, except for two that have become decodable
    // there: one got an id, the other its last failure.
    let all = DeadFilter { limit: 100, ..DeadFilter::default() };
    assert_eq!(engine.redrive(&all).await.expect("redrives").len() as u64, count);
    for _ in 0..2 {
        let healed = take(&mut consumer).await;
        assert_eq!((healed.envelope.kind.as_str(), healed.envelope.payload.get()), ("pack_parcel", "{}"));
        consumer.settler.settle(healed.receipt, Settlement::Done);
    }
    let others = || async { engine.depth(QUEUE).await.expect("depth").dead == count - 2 };
    until("the others are dead again", PATIENCE, others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_usual_is_not_said_and_what_is_not_said_is_usual() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let usual = Envelope { max_attempts: 20, ..envelope() };
    let unusual = Envelope { max_attempts: 3, version: 2, ..envelope() };
    let unsaid = headers(&[("ow-created-at", AMQPValue::LongLongInt(usual.created_at.as_millisecond()))]);
    harness.engine.publish(vec![usual.clone()]).await.expect("publishes");
    inject(&harness.vhost, QUEUE, b"{}", ours(&[]).with_headers(unsaid)).await;
    harness.engine.publish(vec![unusual]).await.expect("publishes");
    let stored = peek(&harness).await;
    assert!(stored.contains("ow-created-at") && !stored.contains("ow-attempt"), "{stored}");
    assert!(!stored.contains("ow-max-attempts") && !stored.contains("ow-version"), "{stored}");
    let mut consumer = consume(&harness.engine, 3).await;
    let mut read = Vec::new();
    for _ in 0..3 {
        let delivery = take(&mut consumer).await;
        let Envelope { attempt, max_attempts, version, .. } = *delivery.envelope;
        read.push((attempt, max_attempts, version));
        consumer.settler.settle(delivery.receipt, Settlement::Done);
    }
    read.sort_unstable();
    assert_eq!(read, [(0, 3, 2), (0, 20, 1), (0, 20, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_later_release_survives_the_dead_queue_unchanged() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let later = ours(&[("ow-novelty", AMQPValue::LongLongInt(7))]).with_app_id("orderworks/2".into());
    inject(&harness.vhost, QUEUE, b"{\"new\":1}", later).await;
    let consumer = consume(engine, 1).await;
    until("it is dead", PATIENCE, || async { engine.depth(QUEUE).await.expect("depth").dead == 1 }).await;
    consumer.settler.close().await.expect("closes");
    let all = DeadFilter { limit: 100, ..DeadFilter::default() };
    assert_eq!(engine.redrive(&all).await.expect("redrives").len(), 1);
    let body = peek(&harness).await;
    for part in
        [r#""app_id":"orderworks/2""#, r#""ow-novelty":7"#, r#""type":"pack_parcel""#, r#"{\"new\":1}"#]
    {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert!(!body.contains("ow-dead-reason"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_another_program_declared_is_an_error_that_names_the_difference() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    let name = work_queue(QUEUE, "bulk");
    declare_raw(&harness, &name, short_lived()).await;
    let error = engine.declare(&[QueueSpec::new(QUEUE)]).await.expect_err("has other arguments");
    let EngineError::Topology { queue, difference } = &error else { panic!("{error}") };
    assert_eq!(queue, QUEUE);
    assert!(difference.contains(&name) && difference.contains("x-de"), "{difference}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_queues_of_an_earlier_release_are_run_while_its_relay_goes_on() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    for class in ["critical", "default", "bulk"] {
        declare_raw(&harness, &format!("ow.{QUEUE}.{class}"), short_lived()).await;
    }
    let old = async |class: &str, not_before: Option<Timestamp>| {
        let id = JobId::fresh(harness.ambient());
        let at = not_before.map(|at| ("ow-not-before", AMQPValue::LongLongInt(at.as_millisecond() + 1)));
        let crashed = ("ow-crashes", AMQPValue::LongLongInt(2));
        let headers: Vec<_> = at.into_iter().chain([crashed]).collect();
        let properties = ours(&headers).with_message_id(id.to_string().as_str().into());
        inject_into(&harness.vhost, &format!("ow.{QUEUE}.{class}"), b"{}", properties).await;
        id
    };
    let mut left: HashSet<JobId> = publish(engine, 3).await;
    for class in ["critical", "default", "bulk"] {
        left.insert(old(class, None).await);
    }
    let later = harness.ambient().now() + Duration::from_secs(4);
    let delayed = old("default", Some(later)).await;
    let mut consumer = consume(engine, 5).await;
    let mut bulk_came = false;
    left.insert(delayed);
    while !left.is_empty() {
        let delivery = take(&mut consumer).await;
        let Envelope { id, priority, .. } = *delivery.envelope;
        assert!(left.remove(&id), "once");
        assert!(id != delayed || harness.ambient().now() >= later, "early");
        assert!(delivery.crashes == 2 || delivery.crashes == 0, "counted on: {}", delivery.crashes);
        bulk_came |= priority == Priority::Bulk;
        consumer.settler.settle(delivery.receipt, Settlement::Done);
    }
    assert!(bulk_came, "each stays of its priority");
    // A relay of the earlier release goes on meanwhile.
    for _ in 0..3 {
        left.insert(old("critical", None).await);
    }
    work_off(&mut consumer, left).await;
    let undecodable = lapin::BasicProperties::default();
    inject_into(&harness.vhost, &format!("ow.{QUEUE}.bulk"), b"?", undecodable).await;
    until("it is dead", PATIENCE, || async { engine.depth(QUEUE).await.expect("depth").dead == 1 }).await;
    let (status, _) = harness.vhost.ask("GET", &format!("/api/queues/{{}}/ow.{QUEUE}.bulk")).await;
    assert_eq!(status, 200, "no queue is deleted");
}

/// Arguments that no release of today declares.
fn short_lived() -> FieldTable {
    headers(&[
        ("x-queue-type", AMQPValue::LongString("quorum".into())),
        ("x-delivery-limit", AMQPValue::LongLongInt(7)),
    ])
}

async fn declare_raw(harness: &RabbitHarness, name: &str, arguments: FieldTable) {
    let url = harness.vhost.url();
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
    let connection = connection.await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    let durable = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), durable, arguments).await.expect("declares");
    connection.close(200, "declared".into()).await.expect("closes");
}
