//! Unique keys of jobs that could not be published, or of which that is unknown, and the job store away.

use base::testing::Proxy;
use orderworks_jobs::{
    Admin, Envelope, ErrorClass, JobId, Publish, Unique,
    conformance::Harness,
    engine::{HolderState, KeyHolder, Published},
};

use super::{PATIENCE, QUEUE, RabbitHarness, consume, dead_letters::alter, envelope, publish, take, until};
use crate::util::broker::{self, needs_broker};

fn keyed() -> Envelope {
    Envelope { unique_key: Some("stock-take".to_owned()), ..envelope() }
}

fn not_unique(id: JobId) -> Published {
    Published::NotUnique(KeyHolder { id, state: HolderState::Active })
}

async fn answer(harness: &RabbitHarness, job: Envelope) -> Published {
    harness.engine.publish(vec![job]).await.expect("publishes")[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_free_at_once_when_its_job_was_certainly_not_published() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let proxy = Proxy::start(broker::address()).await;
    proxy.set_accepting(false);
    let away = harness.by(proxy.port).await;
    let error = away.publish(vec![keyed()]).await.expect_err("the broker is away");
    assert_eq!(error.class(), Some(ErrorClass::Unavailable));
    let (first, second) = (keyed(), keyed());
    let holder = first.id;
    assert_eq!(answer(&harness, first).await, Published::Accepted);
    // The first one's key is not withdrawn by a later call that fails.
    assert!(away.publish(vec![second.clone()]).await.is_ok_and(|answers| answers == [not_unique(holder)]));
    let again = Envelope { id: holder, ..keyed() };
    away.publish(vec![again]).await.expect_err("the broker is away");
    assert_eq!(answer(&harness, second).await, not_unique(holder));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_kept_while_it_is_unknown_whether_its_job_was_published() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let proxy = Proxy::start(broker::address()).await;
    let engine = harness.by(proxy.port).await;
    engine.publish(vec![envelope()]).await.expect("publishes");
    proxy.set_deaf(true);
    let job = keyed();
    let id: JobId = job.id;
    let publishing = tokio::spawn({
        let (engine, job) = (engine.clone(), job.clone());
        async move { engine.publish(vec![job]).await }
    });
    let stored = || async { harness.engine.depth(QUEUE).await.expect("depth").ready == 2 };
    until("it is stored", PATIENCE, stored).await;
    proxy.set_accepting(false);
    proxy.cut();
    publishing.await.expect("joins").expect_err("no confirm");
    assert_eq!(answer(&harness, keyed()).await, not_unique(id));
    assert_eq!(answer(&harness, job).await, Published::Accepted, "published again under the same id");
}

/// A key that is held while its job waits is free before the job starts; without the job store, the job waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_does_not_start_before_its_key_is_free() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let waiting = || Envelope { unique: Unique::WHILE_WAITING, ..keyed() };
    let job = waiting();
    let id = job.id;
    assert_eq!(answer(&harness, job).await, Published::Accepted);
    alter(&harness, "ALTER TABLE unique_keys RENAME TO away").await;
    let mut consumer = consume(engine, 5).await;
    let aside = || async { engine.short_delays().await.expect("counts") == 1 };
    until("it is put aside", PATIENCE, aside).await;
    assert!(consumer.consumer.deliveries.try_recv().is_err(), "it has not started");
    alter(&harness, "ALTER TABLE away RENAME TO unique_keys").await;
    assert_eq!(take(&mut consumer).await.envelope.id, id);
    assert_eq!(answer(&harness, waiting()).await, Published::Accepted, "while the first one runs");
}
