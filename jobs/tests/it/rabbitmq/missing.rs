//! Queues and exchanges deleted under publishers and consumers: no confirmed job is lost.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;
use orderworks_jobs::{
    Admin, Envelope, JobId, Publish,
    conformance::Harness,
    engine::{DeadReason, Settlement},
};

use super::{PATIENCE, QUEUE, RabbitHarness, consume, envelope, publish, take, until, work_off, work_queue};
use crate::util::broker::needs_broker;

/// Publishers at a time; the broker confirms their messages in groups.
const PUBLISHERS: usize = 256;
/// Queue and exchange of the shortest delay.
const DELAY: &str = "ow.delay.250ms.v2";

/// Publishes one job by each of many callers at once; returns their ids.
async fn publish_in_parallel(harness: &RabbitHarness) -> HashSet<JobId> {
    let publishing = (0..PUBLISHERS).map(|_| {
        let (engine, job) = (harness.engine.clone(), envelope());
        tokio::spawn(async move { (job.id, engine.publish(vec![job]).await) })
    });
    let answers = join_all(publishing).await.into_iter().map(|answer| answer.expect("joins"));
    answers
        .map(|(id, published)| {
            published.expect("publishes");
            id
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_whose_queue_is_missing_declare_it_and_none_is_lost() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    for _ in 0..5 {
        delete(&harness, &format!("queues/{{}}/{}", work_queue(QUEUE, "default"))).await;
        let accepted = publish_in_parallel(&harness).await;
        let mut consumer = consume(engine, PUBLISHERS).await;
        work_off(&mut consumer, accepted).await;
        consumer.settler.close().await.expect("closes");
    }
}

/// Deletes an object of the virtual host.
async fn delete(harness: &RabbitHarness, object: &str) {
    assert_eq!(harness.vhost.ask("DELETE", &format!("/api/{object}")).await.0, 204, "{object}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_declares_what_it_misses() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 2).await;
    let mut consumer = consume(engine, 2).await;
    let (first, mut delivery) = (take(&mut consumer).await, take(&mut consumer).await);
    delete(&harness, &format!("queues/{{}}/ow.{QUEUE}.dead")).await;
    let dead = Settlement::Dead { reason: DeadReason::UnknownKind, error: "what is this".to_owned() };
    consumer.settler.settle(first.receipt, dead);
    until("it is dead", PATIENCE, || async { engine.depth(QUEUE).await.is_ok_and(|depth| depth.dead == 1) })
        .await;
    // The rung is declared when it is first used.
    for object in [None, Some("queues"), Some("exchanges")] {
        if let Some(object) = object {
            delete(&harness, &format!("{object}/{{}}/{DELAY}")).await;
        }
        let at = harness.ambient().now() + Duration::from_millis(200);
        consumer.settler.settle(delivery.receipt, Settlement::Snooze { at });
        let again = take(&mut consumer).await;
        assert_eq!(again.envelope.id, delivery.envelope.id);
        delivery = again;
    }
    assert_eq!(consumer.settler.health().trouble, None);
}

/// A missing exchange closes a channel of the publisher: jobs that pass no exchange are published meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_exchange_costs_other_publishers_nothing() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let delayed = || {
        let later = harness.ambient().now() + Duration::from_millis(200);
        Envelope { run_at: Some(later), ..envelope() }
    };
    engine.publish(vec![delayed()]).await.expect("publishes");
    for round in 1..=3_u64 {
        delete(&harness, &format!("exchanges/{{}}/{DELAY}")).await;
        let (accepted, published) =
            tokio::join!(publish_in_parallel(&harness), engine.publish(vec![delayed()]));
        published.expect("publishes");
        assert_eq!(accepted.len(), PUBLISHERS);
        // Published again after a lost connection, a job would be there twice.
        let all = round * (PUBLISHERS as u64 + 1) + 1;
        let there = || async { engine.depth(QUEUE).await.is_ok_and(|depth| depth.ready == all) };
        until("each is there once", PATIENCE, there).await;
    }
}
