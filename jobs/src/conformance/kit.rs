//! Helpers of the cases: publish, take, settle, wait.

use std::{future::Future, time::Duration};

use base::{Ambient, Timestamp};
use serde_json::value::to_raw_value;
use tokio::time::timeout;

use super::Harness;
use crate::{
    engine::{
        ConsumeOptions, Consumer, Delivery, Engine, HolderState, InspectedJob, KeyHolder, Published,
        QueueSpec, Settlement,
    },
    envelope::{Envelope, JobId},
    job::Priority,
    unique::Unique,
};

/// The queue used by most cases.
pub(super) const QUEUE: &str = "parcels";
/// Longest wait for an expected event.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long to observe that an event does not occur.
pub(super) const QUIET: Duration = Duration::from_millis(250);

/// A plain job.
pub(super) fn envelope(harness: &impl Harness) -> Envelope {
    let payload = to_raw_value(&serde_json::json!({ "parcel": "p-1" })).expect("a payload");
    Envelope { payload, ..plain_job(QUEUE, harness.ambient()) }
}

/// A plain job of this queue, for the tests of engines and job stores.
pub fn plain_job(queue: &str, ambient: &Ambient) -> Envelope {
    Envelope {
        id: JobId::fresh(ambient),
        kind: "pack_parcel".to_owned(),
        version: 1,
        queue: queue.to_owned(),
        priority: Priority::Default,
        attempt: 0,
        max_attempts: 5,
        created_at: ambient.now(),
        run_at: None,
        trace: None,
        unique_key: None,
        unique: Unique::default(),
        concurrency_key: None,
        fair_key: None,
        order_key: None,
        subject: None,
        payload: to_raw_value("p-1").expect("a payload"),
    }
}

/// Declares [`QUEUE`].
pub(super) async fn declared(harness: &impl Harness) -> std::sync::Arc<dyn Engine> {
    let engine = harness.engine();
    engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    engine
}

/// Publishes jobs that must all be accepted; returns their ids.
pub(super) async fn publish(engine: &dyn Engine, envelopes: Vec<Envelope>) -> Vec<JobId> {
    let ids: Vec<JobId> = envelopes.iter().map(|e| e.id).collect();
    let answers = engine.publish(envelopes).await.expect("publishes");
    assert_eq!(answers.len(), ids.len(), "one answer per envelope");
    assert!(answers.iter().all(|&a| a == Published::Accepted), "all accepted");
    ids
}

/// Publishes jobs; of holders that wait or run, which of the two is left out, as some engines do not know it.
pub(super) async fn answers(engine: &dyn Engine, envelopes: Vec<Envelope>) -> Vec<Published> {
    let mut answers = engine.publish(envelopes).await.expect("publishes");
    for answer in &mut answers {
        if let Published::NotUnique(KeyHolder { state, .. }) = answer
            && matches!(state, HolderState::Waiting | HolderState::Running)
        {
            *state = HolderState::Active;
        }
    }
    answers
}

/// The answer of [`answers`] when this job holds the key, as it waits or runs.
pub(super) fn not_unique(id: JobId) -> Published {
    Published::NotUnique(KeyHolder { id, state: HolderState::Active })
}

/// Publishes one plain job.
pub(super) async fn publish_one(harness: &impl Harness, engine: &dyn Engine) -> JobId {
    publish(engine, vec![envelope(harness)]).await[0]
}

/// A consumer of [`QUEUE`] with a lease far longer than any case.
pub(super) async fn consume(engine: &dyn Engine, prefetch: usize) -> Consumer {
    consume_with(engine, prefetch, Duration::from_secs(30)).await
}

pub(super) async fn consume_with(engine: &dyn Engine, prefetch: usize, lease: Duration) -> Consumer {
    let options = ConsumeOptions { name: "conformance".to_owned(), prefetch, lease };
    engine.consume(QUEUE, options).await.expect("consumes")
}

/// The next delivery; fails when none arrives.
pub(super) async fn take(consumer: &mut Consumer) -> Delivery {
    timeout(PATIENCE, consumer.deliveries.recv()).await.expect("a delivery in time").expect("an open stream")
}

pub(super) async fn take_many(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::with_capacity(count);
    for _ in 0..count {
        taken.push(take(consumer).await);
    }
    taken
}

/// Fails when a delivery arrives.
pub(super) async fn nothing_comes(consumer: &mut Consumer) {
    let came = timeout(QUIET, consumer.deliveries.recv()).await;
    assert!(came.is_err(), "nothing was to come, but {came:?}");
}

pub(super) fn settle(consumer: &Consumer, delivery: &Delivery, settlement: Settlement) {
    consumer.settler.settle(delivery.receipt, settlement);
}

pub(super) fn retry(at: Timestamp) -> Settlement {
    Settlement::Retry { at, error: "the printer is out of paper".to_owned() }
}

pub(super) async fn close(consumer: &Consumer) {
    timeout(PATIENCE, consumer.settler.close()).await.expect("closes in time").expect("closes");
}

/// Polls until the condition holds: engines may count late, and have no event for it.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let asked = timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(asked.await.is_ok(), "never came true: {what}");
}

/// Waits until [`QUEUE`] holds at most dead jobs.
pub(super) async fn until_empty(engine: &dyn Engine) {
    until("the queue is empty", || async {
        let depth = engine.depth(QUEUE).await.expect("depth");
        depth.ready + depth.delayed + depth.running == 0
    })
    .await;
}

/// Waits until the job is in the dead queue.
pub(super) async fn until_dead(engine: &dyn Engine, id: JobId) -> InspectedJob {
    until("the job is dead", || async {
        engine.find(id).await.expect("find").is_some_and(|held| held.dead.is_some())
    })
    .await;
    engine.find(id).await.expect("find").expect("held")
}
