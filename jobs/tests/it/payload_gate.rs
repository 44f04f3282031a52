//! The payload gate over an engine that lists all its jobs.

use std::time::Duration;

use base::Ambient;
use orderworks_jobs::{
    Consume, Envelope, Job, JobContext, JobError, Publish, Registry,
    engine::{ConsumeOptions, DeadReason, QueueSpec, Settlement},
    envelope::EnqueueOptions,
    payload_gate::{Checked, GROUPS_MAX, check},
    testing::MemoryEngine,
};
use serde_json::value::to_raw_value;

#[derive(serde::Serialize, serde::Deserialize)]
struct Print {
    pages: u32,
}

impl Job for Print {
    type Env = ();
    const KIND: &'static str = "print";

    async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

fn job(ambient: &Ambient) -> Envelope {
    Envelope::new(&Print { pages: 2 }, EnqueueOptions::default(), ambient).expect("a job")
}

async fn engine_with(ambient: &Ambient, jobs: Vec<Envelope>) -> MemoryEngine {
    let engine = MemoryEngine::new(ambient.clone());
    engine.declare(&[QueueSpec::new("default")]).await.expect("declares");
    engine.publish(jobs).await.expect("publishes");
    engine
}

async fn checked(engine: &MemoryEngine) -> Checked {
    let registry = Registry::new().register::<Print>().expect("registers");
    check(engine, |envelope| registry.check(envelope), 0).await.expect("checks")
}

#[tokio::test]
async fn unreadable_jobs_are_told_by_kind_version_and_reason() {
    let ambient = Ambient::system();
    let unknown = || Envelope { kind: "scan".to_owned(), ..job(&ambient) };
    let later = Some(ambient.now() + Duration::from_hours(1));
    let newer = Envelope { version: 2, run_at: later, ..job(&ambient) };
    let broken = Envelope { payload: to_raw_value("canary").unwrap(), ..job(&ambient) };
    let ids = [newer.id, broken.id];
    let engine = engine_with(&ambient, vec![job(&ambient), unknown(), unknown(), newer, broken]).await;

    let checked = checked(&engine).await;
    assert_eq!((checked.read, checked.ungrouped, checked.dead_before), (5, 0, 0));
    assert!(!checked.is_passed() && checked.unread.is_empty() && checked.short_delays == 0, "{checked:?}");
    let told = |group: usize| &checked.unreadable[group];
    assert_eq!(checked.unreadable.len(), 3);
    assert_eq!((told(0).kind.as_str(), told(0).version, told(0).example), ("print", 1, ids[1]));
    assert_eq!((told(1).kind.as_str(), told(1).version, told(1).example), ("print", 2, ids[0]));
    assert_eq!((told(2).kind.as_str(), told(2).count), ("scan", 2));
    assert_eq!(told(1).error, "the newest version known here is 1");
    assert!(!format!("{checked:?}").contains("canary"), "{checked:?}");
}

#[tokio::test]
async fn a_job_that_was_unreadable_when_it_died_is_counted_apart() {
    let ambient = Ambient::system();
    let unknown = || Envelope { kind: "scan".to_owned(), ..job(&ambient) };
    let engine = engine_with(&ambient, vec![unknown(), unknown()]).await;
    let options = ConsumeOptions { name: "t".to_owned(), prefetch: 2, lease: Duration::from_mins(1) };
    let mut consumer = engine.consume("default", options).await.unwrap();
    for reason in [DeadReason::UnknownKind, DeadReason::Exhausted] {
        let delivery = consumer.deliveries.recv().await.unwrap();
        consumer.settler.settle(delivery.receipt, Settlement::Dead { reason, error: "dead".to_owned() });
        engine.when(delivery.receipt.job, |held| held.is_some_and(|held| held.dead.is_some())).await;
    }
    let checked = checked(&engine).await;
    assert_eq!((checked.read, checked.dead_before, checked.unreadable.len()), (2, 1, 1));
    assert_eq!(checked.unreadable[0].count, 1, "this one was readable when it died");
}

#[tokio::test]
async fn the_number_of_groups_is_bounded() {
    let ambient = Ambient::system();
    let kinds = 0..GROUPS_MAX + 5;
    let jobs = kinds.map(|kind| Envelope { kind: format!("kind_{kind}"), ..job(&ambient) }).collect();
    let checked = checked(&engine_with(&ambient, jobs).await).await;
    assert_eq!((checked.unreadable.len(), checked.ungrouped), (GROUPS_MAX, 5));
}
