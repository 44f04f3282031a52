//! The scaling signal from an engine and the notes of workers, without any worker that runs.

use std::{sync::Arc, time::Duration};

use orderworks_jobs::{
    Ambient, Consume, Job, JobContext, JobError, Producer, Timestamp,
    engine::QueueSpec,
    job_store::{SqliteJobStore, WorkerNote, WorkerNotes},
    scaling::{
        QueuePlan, QueueSignal, Scaling,
        rule::{Bounds, LimitedBy, Pace},
    },
    testing::MemoryEngine,
};
use serde_json::json;

#[derive(serde::Serialize, serde::Deserialize)]
struct Call;

impl Job for Call {
    type Env = ();
    const KIND: &'static str = "call";

    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

fn plan(queue: &str) -> QueuePlan {
    let bounds = Bounds { target_wait: Duration::from_secs(10), min: 1, max: 20 };
    QueuePlan { queue: queue.to_owned(), slots: 4, bounds, pace: Pace::default(), concurrent_max: None }
}

fn note(at: Timestamp) -> WorkerNote {
    WorkerNote {
        worker: "a".to_owned(),
        queue: Call::QUEUE.to_owned(),
        release: "1.2.3".to_owned(),
        started_at: at,
        noted_at: at,
        slots: 10,
        used: 0,
        configured: 10,
        contact_at: Some(at),
        trouble: None,
        runs: Vec::new(),
        ended: 40,
        busy_ms: 20_000,
        held_back: false,
    }
}

async fn only(scaling: &Scaling) -> QueueSignal {
    let mut signals = scaling.read().await.expect("reads");
    assert_eq!(signals.len(), 1, "the other queue is not declared");
    signals.remove(0)
}

#[tokio::test]
async fn backlog_arrivals_and_notes_of_workers_make_the_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    let noon = "2026-11-29T12:00:00Z".parse().expect("a time");
    let (ambient, clock) = Ambient::steered(1, noon);
    let store = SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await.expect("opens");
    let engine = MemoryEngine::new(ambient.clone());
    engine.declare(&[QueueSpec::new(Call::QUEUE)]).await.expect("declares");
    let producer = Producer::new(Arc::new(engine.clone()), ambient.clone());
    let publish = async |jobs: u32| {
        for _ in 0..jobs {
            producer.enqueue(&Call).await.expect("publishes");
        }
    };
    let plans = vec![plan(Call::QUEUE), plan("undeclared")];
    let scaling = Scaling::new(Arc::new(engine), Arc::new(store.clone()), plans, ambient.clone());

    publish(100).await;
    let first = serde_json::to_value(only(&scaling).await).expect("JSON");
    // 100 × 1 ÷ 10 ÷ (4 × 0.7): no worker has told of its slots and runs so far.
    let expected = json!({
        "desired_workers": 4, "backlog": 100, "oldest_age_seconds": 0.0, "arrival_per_second": 0.0,
        "service_seconds": 1.0, "limited_by": null,
    });
    assert_eq!(first, expected);

    clock.advance(Duration::from_secs(10));
    publish(50).await;
    let second = only(&scaling).await;
    assert_eq!((second.desired_workers, second.backlog), (8, 150), "5 a second, and 150 to catch up");
    assert!((second.arrival_per_second - 5.0).abs() < 1e-6 && second.limited_by.is_none(), "{second:?}");
    assert!((second.oldest_age_seconds - 10.0).abs() < 1e-6, "{second:?}");

    clock.advance(Duration::from_secs(10));
    store.note_workers(vec![note(ambient.now())]).await.expect("notes");
    let third = only(&scaling).await;
    assert!((third.service_seconds - 0.5).abs() < 1e-6, "as the worker tells: {third:?}");
    assert!(third.arrival_per_second > 4.0 && third.arrival_per_second < 5.0, "{third:?}");
    assert_eq!(third.desired_workers, 8, "it shrinks later");

    clock.advance(Duration::from_secs(10));
    publish(5000).await;
    let held_back = WorkerNote { noted_at: ambient.now(), held_back: true, ..note(noon) };
    store.note_workers(vec![held_back]).await.expect("notes");
    let fourth = only(&scaling).await;
    assert_eq!((fourth.desired_workers, fourth.limited_by), (8, Some(LimitedBy::Dependency)));
}
