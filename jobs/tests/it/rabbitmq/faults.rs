//! Faults of connections, queues and consumers: no confirmed job is lost, every effect occurs once by its key.

use std::time::Duration;

use base::{Ambient, Timestamp, testing::Proxy};
use orderworks_jobs::{
    Admin, Consume, Envelope, ErrorClass, Publish,
    conformance::Harness,
    engine::{DeadFilter, DeadReason, Delivery, EngineError, Interrupt, QueueSpec, Settlement},
    rabbitmq::RabbitServer,
};
use tokio::time::{Instant, timeout};

use super::{
    PATIENCE, QUEUE, RECOVERY, RabbitHarness, Renewed, consume, envelope, open, open_at, open_with, publish,
    take, until, until_empty, work_off, work_queue,
};
use crate::util::broker::{self, needs_broker};

/// Time within which a silent connection is noticed: two heartbeats, and what a check may add.
const SILENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_cut_between_publish_and_confirm_loses_nothing() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let direct = &harness.engine;
    publish(direct, 0).await;
    let proxy = Proxy::start(broker::address()).await;
    let engine = harness.by(proxy.port).await;
    publish(&engine, 1).await;
    proxy.set_deaf(true);
    let envelopes: Vec<Envelope> = (0..50).map(|_| envelope()).collect();
    let mut ids: std::collections::HashSet<_> = envelopes.iter().map(|e| e.id).collect();
    let publishing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.publish(envelopes).await }
    });
    // The broker has stored them all; the publisher has no confirm.
    until("they are stored", PATIENCE, || async { direct.depth(QUEUE).await.expect("depth").ready == 51 })
        .await;
    assert!(!publishing.is_finished());
    proxy.set_deaf(false);
    proxy.cut();
    let answers = timeout(RECOVERY, publishing).await.expect("in time").expect("joins").expect("publishes");
    assert_eq!(answers.len(), 50);
    assert_eq!(direct.depth(QUEUE).await.expect("depth").ready, 101, "published again under the same ids");
    let mut consumer = consume(direct, 20).await;
    let first = take(&mut consumer).await;
    ids.remove(&first.envelope.id);
    consumer.settler.settle(first.receipt, Settlement::Done);
    work_off(&mut consumer, ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_cut_in_mid_consume_ends_the_consumer_and_the_next_one_resumes() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let ids = publish(&harness.engine, 300).await;
    let proxy = Proxy::start(broker::address()).await;
    let mut consumer = consume(&harness.by(proxy.port).await, 50).await;
    let running = take(&mut consumer).await;
    let settled = take(&mut consumer).await;
    consumer.settler.settle(settled.receipt, Settlement::Done);
    proxy.set_accepting(false);
    proxy.cut();
    let why = timeout(PATIENCE, running.signal.fired()).await.expect("fires");
    assert_eq!(why, Interrupt::LeaseLost);
    until("trouble shows", PATIENCE, || async { consumer.settler.health().trouble.is_some() }).await;
    consumer.settler.settle(running.receipt, Settlement::Done);
    let lost = std::sync::Arc::clone(&consumer.settler);
    proxy.set_accepting(true);
    consumer.renew().await;
    assert_eq!(consumer.settler.health().trouble, None, "the trouble is over");
    let mut left = ids;
    left.remove(&settled.envelope.id);
    work_off(&mut consumer, left).await;
    assert!(lost.health().stale_settlements >= 1, "the outcome of the lost delivery had no effect");
    until_empty(&harness.engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_falls_silent_is_noticed() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let proxy = Proxy::start(broker::address()).await;
    let mut consumer = consume(&harness.by(proxy.port).await, 5).await;
    proxy.set_deaf(true);
    until("trouble shows", SILENCE, || async { consumer.settler.health().trouble.is_some() }).await;
    proxy.set_deaf(false);
    let ids = publish(&harness.engine, 3).await;
    work_off(&mut consumer, ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stalls_for_less_than_two_heartbeats_keeps_its_consumers() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let ids = publish(&harness.engine, 1).await;
    let proxy = Proxy::start(broker::address()).await;
    let mut consumer = consume(&harness.by(proxy.port).await, 5).await;
    let running = take(&mut consumer).await;
    proxy.set_held(true);
    // Longer than any other reply is waited for, after the longest pause between two questions.
    let ended = timeout(Duration::from_secs(12), &mut consumer.consumer.ended).await;
    assert!(ended.is_err(), "the consumer was given up: {ended:?}");
    proxy.set_held(false);
    assert!(ids.contains(&running.envelope.id) && running.signal.interrupt().is_none());
    consumer.settler.settle(running.receipt, Settlement::Done);
    until_empty(&harness.engine).await;
    assert_eq!(consumer.settler.health().stale_settlements, 0);
    assert_eq!(consumer.settler.health().trouble, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_deleted_under_its_consumer_is_declared_again() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let mut consumer = consume(engine, 5).await;
    for class in ["default", "bulk"] {
        let (status, _) =
            harness.vhost.ask("DELETE", &format!("/api/queues/{{}}/{}", work_queue(QUEUE, class))).await;
        assert_eq!(status, 204);
        // Declared again at once, by the publisher or the next consumer: the old subscription receives nothing.
        let urgency = class.parse().expect("a priority");
        let job = Envelope { priority: urgency, ..envelope() };
        let ids = [job.id].into();
        engine.publish(vec![job]).await.expect("publishes");
        work_off(&mut consumer, ids).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_delayed_retries_take_the_same_rung() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 40).await;
    let mut consumer = consume(engine, 50).await;
    for attempt in 0..=5 {
        for _ in 0..40 {
            let delivery = take(&mut consumer).await;
            assert_eq!((delivery.envelope.attempt, delivery.crashes), (attempt, 0));
            // The delay of one rung, so that a message enters the same queue again and again.
            let at = harness.ambient().now() + Duration::from_secs(1);
            let settlement = if attempt < 5 {
                Settlement::Retry { at, error: "again".to_owned() }
            } else {
                Settlement::Done
            };
            consumer.settler.settle(delivery.receipt, settlement);
        }
    }
    until_empty(engine).await;
}

/// Snoozes the next job until a time between two rungs of the ladder. Returns the delivery and the time, once the job
/// waits in the broker.
async fn put_off(harness: &RabbitHarness, consumer: &mut Renewed) -> (Delivery, Timestamp) {
    let delivery = take(consumer).await;
    // The first count declares the ladder, which takes its time on a busy broker.
    assert_eq!(harness.engine.short_delays().await.expect("counts"), 0);
    let at = harness.ambient().now() + Duration::from_millis(2600);
    consumer.settler.settle(delivery.receipt, Settlement::Snooze { at });
    let waits = || async { harness.engine.short_delays().await.expect("counts") == 1 };
    until("it waits in the broker", PATIENCE, waits).await;
    (delivery, at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_between_two_rungs_is_kept() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 1).await;
    let mut consumer = consume(engine, 5).await;
    let (first, at) = put_off(&harness, &mut consumer).await;
    let second = take(&mut consumer).await;
    assert!(harness.ambient().now() >= at);
    assert_eq!((second.envelope.id, second.envelope.attempt, second.crashes), (first.envelope.id, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_clock_is_wrong_starts_a_delayed_job_in_time() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    let minutes = Duration::from_mins(5);
    for wrong in [harness.ambient().now() - minutes, harness.ambient().now() + minutes] {
        publish(engine, 1).await;
        let mut consumer = consume(engine, 5).await;
        let (first, at) = put_off(&harness, &mut consumer).await;
        drop(consumer);

        let (ambient, _clock) = Ambient::steered(1, wrong);
        let other = open_with(RabbitServer::at(&harness.vhost.url()), harness.folder.path(), ambient).await;
        let mut consumer = consume(&other, 5).await;
        let second = take(&mut consumer).await;
        assert!(harness.ambient().now() >= at, "not early");
        assert_eq!((second.envelope.id, second.envelope.attempt), (first.envelope.id, 0));
        consumer.settler.settle(second.receipt, Settlement::Done);
        until_empty(engine).await;
    }
}

/// The last resort, for a message that kills consumers before they can decide about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_parked_by_the_broker_is_listed_and_runs_again_when_redriven() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    let ids = publish(engine, 1).await;
    let (url, properties) = (harness.vhost.url(), lapin::ConnectionProperties::default());
    let connection = lapin::Connection::connect(&url, properties).await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    let queue = work_queue(QUEUE, "default");
    let deadline = Instant::now() + RECOVERY;
    while engine.depth(QUEUE).await.expect("depth").dead == 0 {
        assert!(Instant::now() < deadline, "not parked");
        let got = channel.basic_get(queue.as_str().into(), lapin::options::BasicGetOptions::default()).await;
        if let Some(got) = got.expect("asks") {
            let back = lapin::options::BasicNackOptions { requeue: true, ..Default::default() };
            channel.basic_nack(got.delivery.delivery_tag, back).await.expect("returns");
        }
    }
    let all = DeadFilter { limit: 5, reason: Some(DeadReason::Crashed), ..DeadFilter::default() };
    assert_eq!(engine.redrive(&all).await.expect("redrives"), ids.into_iter().collect::<Vec<_>>());
    let mut consumer = consume(engine, 1).await;
    let delivery = take(&mut consumer).await;
    assert_eq!((delivery.crashes, delivery.envelope.attempt), (0, 0));
    consumer.settler.settle(delivery.receipt, Settlement::Done);
    until_empty(engine).await;
    assert_eq!(engine.depth(QUEUE).await.expect("depth").dead, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_dropped_with_two_hundred_in_hand_loses_none() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    let mut ids = publish(engine, 200).await;
    let mut consumer = consume(engine, 200).await;
    for _ in 0..200 {
        take(&mut consumer).await;
    }
    drop(consumer);
    let mut next = consume(engine, 200).await;
    while !ids.is_empty() {
        let delivery = take(&mut next).await;
        assert_eq!(delivery.crashes, 1);
        assert!(ids.remove(&delivery.envelope.id), "once");
        next.settler.settle(delivery.receipt, Settlement::Done);
    }
    next.settler.close().await.expect("closes");
    until_empty(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_told_as_such_and_an_absent_broker_is_told_soon() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let good = harness.vhost.url();
    let (scheme, rest) = good.split_once("://").expect("a scheme");
    let (_, server) = rest.rsplit_once('@').expect("a login");
    let stranger = format!("{scheme}://orderworks:wr0ng-secret@{server}");
    let nowhere = format!("{good}-that-is-not-there");
    for url in [&stranger, &nowhere] {
        let engine = open(url, harness.folder.path()).await;
        let denied = engine.declare(&[QueueSpec::new(QUEUE)]).await.expect_err("is not let in");
        assert!(matches!(denied, EngineError::Denied { .. }), "{denied}");
        assert!(!format!("{denied} {denied:?}").contains("wr0ng-secret"));
        publish(&harness.engine, 0).await;
        let denied = engine.publish(vec![envelope()]).await.expect_err("is not let in");
        assert!(matches!(denied, EngineError::Denied { .. }), "{denied}");
    }
    let malformed = orderworks_jobs::rabbitmq::RabbitEngine::new(
        RabbitServer::at("http://me:wr0ng-secret@x"),
        "test",
        std::sync::Arc::new(
            orderworks_jobs::job_store::SqliteJobStore::open(
                &harness.folder.path().join("other.db"),
                harness.ambient().clone(),
            )
            .await
            .expect("opens"),
        ),
        harness.ambient().clone(),
    );
    assert!(
        matches!(malformed.err(), Some(EngineError::Denied { detail, .. }) if !detail.contains("secret"))
    );
    let proxy = Proxy::start(broker::address()).await;
    proxy.set_accepting(false);
    let engine = harness.by(proxy.port).await;
    let asked = Instant::now();
    let refused = engine.publish(vec![envelope()]).await.expect_err("no broker answers");
    assert!(refused.class() == Some(ErrorClass::Unavailable), "{refused}");
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    assert!(engine.publish_trouble().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_only_a_trusted_broker_gets_the_password() {
    needs_broker!();
    let Some((server, ca)) = broker::tls() else {
        return orderworks_jobs::conformance::skip("this broker serves no TLS");
    };
    let harness = RabbitHarness::start().await;
    let ids = publish(&harness.engine, 3).await;
    let url = format!("{server}/{}", harness.vhost.name);
    let pem = std::fs::read_to_string(ca).expect("the authority");
    let engine = |ca_pem| open_at(RabbitServer { url: &url, ca_pem }, harness.folder.path());
    let stranger = engine(None).await.publish(vec![envelope()]).await.expect_err("an unknown authority");
    assert!(stranger.class() == Some(ErrorClass::Unavailable), "{stranger}");
    let trusted = engine(Some(&pem)).await;
    trusted.publish(vec![envelope()]).await.expect("publishes");
    let mut consumer = consume(&trusted, 5).await;
    assert_eq!(work_off(&mut consumer, ids).await, 3);
}
