//! Counts of ended runs, for metrics.

use std::{collections::BTreeMap, time::Duration};

use orderworks_jobs::{
    Envelope,
    engine::JobState,
    envelope::EnqueueOptions,
    worker::{KindRuns, OTHER_KIND, WorkersHealth},
};

use super::rig::{Act, QUEUE, Rig, Script};

/// Outcomes that occurred, with their numbers.
fn ended(runs: &KindRuns) -> BTreeMap<&'static str, u64> {
    runs.ended.iter().copied().filter(|(_, count)| *count > 0).collect()
}

async fn rig() -> (Rig, WorkersHealth) {
    let mut health = WorkersHealth::default();
    let rig = Rig::configured(1, |workers| {
        health = workers.health();
        workers
    })
    .await;
    (rig, health)
}

#[tokio::test(start_paused = true)]
async fn ended_runs_are_counted_by_kind_and_outcome() {
    let (rig, health) = rig().await;
    let jobs = [
        ("flaky", Act::FailUntil(3)),
        ("moot", Act::CancelItself),
        ("later", Act::SnoozeOnce(Duration::from_mins(2))),
    ];
    for (name, act) in jobs {
        let id = rig.enqueue(name, act).await;
        rig.gone(id).await;
    }
    let runs = health.runs();
    let kinds: Vec<_> = runs.iter().map(|runs| (runs.queue.as_str(), runs.kind)).collect();
    assert_eq!(kinds, [(QUEUE, "brief"), (QUEUE, "script")], "registered ones from the start, and no other");
    assert!(ended(&runs[0]).is_empty() && runs[0].ended.len() == 7, "{:?}", runs[0]);
    let expected = [("cancelled", 1), ("completed", 2), ("retried", 2), ("snoozed", 1)];
    assert_eq!(ended(&runs[1]), BTreeMap::from(expected));
    // Waits are those of first attempts; a snooze uses none.
    assert_eq!((runs[1].duration.count(), runs[1].wait.count()), (6, 4));
    assert!(runs[1].duration.exemplars.is_empty(), "of a program that records no traces");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn runs_of_unknown_kinds_are_counted_together() {
    let (rig, health) = rig().await;
    for kind in ["unheard", "of"] {
        let script = Script { name: kind.to_owned(), act: Act::Finish };
        let known = Envelope::new(&script, EnqueueOptions::default(), &rig.ambient).unwrap();
        let unknown = Envelope { kind: kind.to_owned(), ..known };
        let id = unknown.id;
        rig.producer.publish(vec![unknown]).await.unwrap();
        rig.in_state(id, JobState::Delayed).await;
    }
    let runs = health.runs();
    let other: Vec<_> = runs.iter().filter(|runs| runs.kind == OTHER_KIND).collect();
    assert_eq!(other.len(), 1, "{runs:?}");
    assert_eq!(ended(other[0]), BTreeMap::from([("retried", 2)]));
    rig.stop().await.unwrap();
}
