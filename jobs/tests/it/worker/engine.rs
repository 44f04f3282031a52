//! The in-memory engine, where the worker tests do not reach.

use std::time::Duration;

use base::Ambient;
use orderworks_jobs::{
    Admin, Consume, Envelope, Job, JobContext, JobError, Publish,
    engine::{
        CRASHES_MAX, Cancelled, ConsumeOptions, Consumer, DeadFilter, DeadReason, EngineError, HolderState,
        JobFilter, JobState, KeyHolder, Published, QueueSpec, Settlement,
    },
    envelope::EnqueueOptions,
    testing::{MemoryEngine, virtual_time},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Keyed {
    unique: Option<String>,
    exclusive: Option<String>,
}

impl Job for Keyed {
    type Env = ();
    const KIND: &'static str = "keyed";

    fn unique_key(&self) -> Option<String> {
        self.unique.clone()
    }

    fn concurrency_key(&self) -> Option<String> {
        self.exclusive.clone()
    }

    async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

struct Bench {
    engine: MemoryEngine,
    ambient: Ambient,
}

impl Bench {
    async fn new() -> Self {
        let ambient = virtual_time(3);
        let engine = MemoryEngine::new(ambient.clone());
        engine.declare(&[QueueSpec::new("default")]).await.unwrap();
        Self { engine, ambient }
    }

    fn envelope(&self, unique: Option<&str>, exclusive: Option<&str>) -> Envelope {
        let job = Keyed { unique: unique.map(str::to_owned), exclusive: exclusive.map(str::to_owned) };
        Envelope::new(&job, EnqueueOptions::default(), &self.ambient).unwrap()
    }

    async fn consumer(&self, prefetch: usize) -> Consumer {
        let options = ConsumeOptions { name: "t".to_owned(), prefetch, lease: Duration::from_mins(1) };
        self.engine.consume("default", options).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn ids_and_unique_keys_are_held_once() {
    let bench = Bench::new().await;
    let (first, second) = (bench.envelope(Some("k"), None), bench.envelope(Some("k"), None));
    let (id, other) = (first.id, second.id);
    let answers = bench.engine.publish(vec![first.clone(), first, second.clone()]).await.unwrap();
    let held = Published::NotUnique(KeyHolder { id, state: HolderState::Waiting });
    assert_eq!(answers, [Published::Accepted, Published::Duplicate, held]);
    let mut consumer = bench.consumer(1).await;
    let delivery = consumer.deliveries.recv().await.unwrap();
    consumer.settler.settle(delivery.receipt, Settlement::Done);
    assert_eq!(bench.engine.publish(vec![second]).await.unwrap(), [Published::Accepted]);
    assert_eq!(consumer.deliveries.recv().await.unwrap().envelope.id, other);
}

#[tokio::test(start_paused = true)]
async fn jobs_with_one_concurrency_key_run_one_at_a_time_and_hold_up_no_other() {
    let bench = Bench::new().await;
    let jobs: Vec<_> = [Some("k"), Some("k"), None].map(|key| bench.envelope(None, key)).into();
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    bench.engine.publish(jobs).await.unwrap();
    let mut consumer = bench.consumer(3).await;
    let first = consumer.deliveries.recv().await.unwrap();
    assert_eq!(first.envelope.id, ids[0]);
    assert_eq!(consumer.deliveries.recv().await.unwrap().envelope.id, ids[2]);
    assert!(consumer.deliveries.try_recv().is_err());
    consumer.settler.settle(first.receipt, Settlement::Done);
    assert_eq!(consumer.deliveries.recv().await.unwrap().envelope.id, ids[1]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_its_consumer_down_too_often_becomes_a_dead_letter() {
    let bench = Bench::new().await;
    let envelope = bench.envelope(None, None);
    let id = envelope.id;
    bench.engine.publish(vec![envelope]).await.unwrap();
    for crashes in 0..CRASHES_MAX {
        let mut consumer = bench.consumer(1).await;
        assert_eq!(consumer.deliveries.recv().await.unwrap().crashes, crashes);
    }
    let held = bench.engine.find(id).await.unwrap().unwrap();
    assert_eq!(held.dead.unwrap().reason, DeadReason::Crashed);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_for_a_delivery_no_longer_held_is_dropped_and_counted() {
    let bench = Bench::new().await;
    bench.engine.publish(vec![bench.envelope(None, None)]).await.unwrap();
    let mut consumer = bench.consumer(1).await;
    let delivery = consumer.deliveries.recv().await.unwrap();
    consumer.settler.settle(delivery.receipt, Settlement::Release);
    let again = consumer.deliveries.recv().await.unwrap();
    consumer.settler.settle(delivery.receipt, Settlement::Done);
    assert_eq!(consumer.settler.health().stale_settlements, 1);
    assert!(bench.engine.find(again.envelope.id).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn waiting_jobs_are_listed_cancelled_hurried_purged_and_redriven() {
    let bench = Bench::new().await;
    let hour = bench.ambient.now() + Duration::from_hours(1);
    let jobs: Vec<_> =
        (0..3).map(|_| Envelope { run_at: Some(hour), ..bench.envelope(None, None) }).collect();
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    bench.engine.publish(jobs).await.unwrap();
    let delayed = JobFilter { state: Some(JobState::Delayed), limit: 10, ..JobFilter::default() };
    assert_eq!(bench.engine.list(&delayed).await.unwrap().len(), 3);
    assert_eq!(bench.engine.cancel(ids[0], "no").await.unwrap(), Cancelled::Removed);
    assert!(bench.engine.retry_now(ids[1]).await.unwrap());
    let mut consumer = bench.consumer(1).await;
    let hurried = consumer.deliveries.recv().await.unwrap();
    assert_eq!(hurried.envelope.id, ids[1]);
    let error = "card gone".to_owned();
    consumer.settler.settle(hurried.receipt, Settlement::Dead { reason: DeadReason::Exhausted, error });
    assert_eq!(bench.engine.purge("default").await.unwrap(), 1);
    let dry = DeadFilter {
        error_contains: Some("card".to_owned()),
        limit: 10,
        dry_run: true,
        ..DeadFilter::default()
    };
    assert_eq!(bench.engine.redrive(&dry).await.unwrap(), [ids[1]]);
    assert_eq!(bench.engine.depth("default").await.unwrap().dead, 1);
    assert_eq!(bench.engine.redrive(&DeadFilter { dry_run: false, ..dry }).await.unwrap(), [ids[1]]);
    assert_eq!(consumer.deliveries.recv().await.unwrap().envelope.attempt, 0);
}

#[tokio::test(start_paused = true)]
async fn an_undeclared_queue_is_named() {
    let bench = Bench::new().await;
    let stray = Envelope { queue: "nowhere".to_owned(), ..bench.envelope(None, None) };
    let error = bench.engine.publish(vec![stray]).await.unwrap_err();
    assert!(matches!(error, EngineError::NoSuchQueue(name) if name == "nowhere"));
}
