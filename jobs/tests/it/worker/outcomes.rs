//! Outcomes of a run, for its job and for other jobs.

use std::time::Duration;

use orderworks_jobs::{
    Envelope, JobError, JobId, Priority,
    engine::{Admin, Cancelled, DeadReason, JobState},
    envelope::EnqueueOptions,
    worker::ROLLOUT_ATTEMPTS,
};

use super::rig::{Act, Brief, Event, Rig, Script};

fn script(name: &str) -> Script {
    Script { name: name.to_owned(), act: Act::Finish }
}

#[tokio::test(start_paused = true)]
async fn retries_until_it_succeeds_and_tells_the_job_its_attempt() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("flaky", Act::FailUntil(3)).await;
    for attempt in 1..=3 {
        assert_eq!(rig.started("flaky").await, attempt);
    }
    rig.gone(id).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn exhausted_attempts_end_in_the_dead_queue_with_reason_and_error() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("hopeless", Act::FailUntil(99)).await;
    assert_eq!(rig.dead(id).await, (DeadReason::Exhausted, "failure 4".to_owned()));
    for attempt in 1..=4 {
        assert_eq!(rig.started("hopeless").await, attempt);
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retry_after_waits_no_less_than_asked() {
    let mut rig = Rig::start(1).await;
    let before = rig.ambient.now();
    let id = rig.enqueue("busy", Act::RetryAfter(Duration::from_secs(90))).await;
    rig.started("busy").await;
    assert_eq!(rig.in_state(id, JobState::Delayed).await.last_error.as_deref(), Some("busy"));
    assert_eq!(rig.started("busy").await, 2);
    let waited = Duration::try_from(rig.ambient.now().duration_since(before)).unwrap();
    assert!(waited >= Duration::from_secs(90), "{waited:?}");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_snooze_uses_no_attempt() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("later", Act::SnoozeOnce(Duration::from_mins(2))).await;
    assert_eq!(rig.started("later").await, 1);
    assert_eq!(rig.in_state(id, JobState::Delayed).await.envelope.attempt, 0);
    assert_eq!(rig.started("later").await, 1);
    rig.gone(id).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_our_own_is_waited_out_however_long_and_uses_no_attempt() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("patient", Act::Away(Duration::from_mins(2))).await;
    let mut runs = 0;
    while rig.engine.find(id).await.unwrap().is_some() {
        // Many more runs than the attempts of its kind, and each of them is the first attempt.
        assert_eq!(rig.started("patient").await, 1);
        runs += 1;
        rig.engine.when(id, |held| held.is_none_or(|held| held.state == JobState::Delayed)).await;
    }
    assert!((24..=120).contains(&runs), "every one to five seconds: {runs}");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_defect_of_our_own_uses_attempts_and_ends_as_a_dead_letter_with_its_cause() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("unlucky", Act::Broken).await;
    for attempt in 1..=4 {
        assert_eq!(rig.started("unlucky").await, attempt);
    }
    assert_eq!(rig.dead(id).await, (DeadReason::Exhausted, "the shelf has no such column".to_owned()));
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_may_cancel_itself() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("moot", Act::CancelItself).await;
    assert_eq!(rig.started("moot").await, 1);
    rig.gone(id).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_its_job_an_attempt_and_its_neighbours_nothing() {
    let mut rig = Rig::start(2).await;
    let neighbour = rig.enqueue("neighbour", Act::Gate).await;
    rig.started("neighbour").await;
    let id = rig.enqueue("bad", Act::Panic).await;
    let held = rig.engine.when(id, |held| held.is_some_and(|held| held.envelope.attempt == 1)).await.unwrap();
    assert_eq!(held.last_error.as_deref(), Some("panicked: boom in bad"));
    assert_eq!((held.crashes, held.state), (0, JobState::Delayed));
    rig.gate.add_permits(1);
    rig.gone(neighbour).await;
    assert_eq!(rig.dead(id).await.0, DeadReason::Exhausted);
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_is_dropped_and_counts_as_failed() {
    let rig = Rig::start(1).await;
    let id = rig.producer.enqueue(&Brief).await.unwrap().id;
    assert_eq!(rig.dead(id).await, (DeadReason::Exhausted, "timed out after 5s".to_owned()));
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_running_job_fires_its_signal_and_its_failure_is_final() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("patient", Act::ObeySignal).await;
    rig.started("patient").await;
    assert_eq!(rig.engine.cancel(id, "customer left").await.unwrap(), Cancelled::Requested);
    rig.gone(id).await;
    rig.stop().await.unwrap();
}

/// Fails the test unless the job is retried at first, and then dead after about a day.
async fn dead_after_a_day(rig: &Rig, id: JobId) -> (DeadReason, String) {
    let began = rig.ambient.now();
    let retried = rig.in_state(id, JobState::Delayed).await;
    assert_eq!(retried.envelope.attempt, 1);
    assert!(retried.envelope.run_at.unwrap() <= began + Duration::from_secs(10), "a new worker may be there");
    rig.gone(rig.enqueue("next", Act::Finish).await).await;
    let dead = rig.dead(id).await;
    let held = rig.engine.find(id).await.unwrap().unwrap();
    assert_eq!(held.envelope.attempt, ROLLOUT_ATTEMPTS - 1, "the last run was none");
    let waited = Duration::try_from(rig.ambient.now().duration_since(began)).unwrap();
    assert!(Duration::from_hours(20) < waited && waited < Duration::from_hours(28), "{waited:?}");
    dead
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kind_is_retried_over_a_rollout_before_it_becomes_a_dead_letter() {
    let rig = Rig::start(1).await;
    let envelope = Envelope::new(&script("x"), EnqueueOptions::default(), &rig.ambient).unwrap();
    let id = envelope.id;
    rig.producer.publish(vec![Envelope { kind: "from_tomorrow".to_owned(), ..envelope }]).await.unwrap();
    let (reason, error) = dead_after_a_day(&rig, id).await;
    assert_eq!(reason, DeadReason::UnknownKind);
    assert!(error.contains("`from_tomorrow`"), "{error}");
    rig.gone(rig.enqueue("next", Act::Finish).await).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_newer_payload_is_retried_over_a_rollout_before_it_becomes_a_dead_letter() {
    let rig = Rig::start(1).await;
    let made = Envelope::new(&script("x"), EnqueueOptions::default(), &rig.ambient).unwrap();
    let newer = Envelope { version: 9, ..made };
    let id = newer.id;
    rig.producer.publish(vec![newer]).await.unwrap();
    let (reason, error) = dead_after_a_day(&rig, id).await;
    assert_eq!(reason, DeadReason::Undecodable);
    assert!(error.contains("version 9 is newer than version 1"), "{error}");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_payload_becomes_a_dead_letter_at_once_and_the_worker_lives() {
    let rig = Rig::start(1).await;
    let made = Envelope::new(&script("x"), EnqueueOptions::default(), &rig.ambient).unwrap();
    let garbled = Envelope { payload: serde_json::value::to_raw_value(&["no", "script"]).unwrap(), ..made };
    let id = garbled.id;
    let began = rig.ambient.now();
    rig.producer.publish(vec![garbled]).await.unwrap();
    let (reason, error) = rig.dead(id).await;
    assert_eq!(reason, DeadReason::Undecodable);
    assert!(error.starts_with("payload does not decode"), "{error}");
    assert_eq!(rig.ambient.now(), began, "without a delay");
    rig.gone(rig.enqueue("next", Act::Finish).await).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_run_at_a_time_than_the_concurrency() {
    let mut rig = Rig::start(2).await;
    for name in ["a", "b", "c"] {
        rig.enqueue(name, Act::Gate).await;
    }
    let first = [rig.event().await, rig.event().await];
    assert!(first.iter().all(|event| matches!(event, Event::Started { .. })));
    rig.gate.add_permits(1);
    // The third job starts only after one of the two has finished.
    assert!(matches!(rig.event().await, Event::Finished { .. }));
    assert!(matches!(rig.event().await, Event::Started { name, .. } if name == "c"));
    rig.gate.add_permits(2);
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_higher_class_starts_first() {
    let mut rig = Rig::start(1).await;
    rig.engine.pause(super::rig::QUEUE).await.unwrap();
    for (name, class) in
        [("bulk", Priority::Bulk), ("default", Priority::Default), ("critical", Priority::Critical)]
    {
        let options = EnqueueOptions { priority: Some(class), ..EnqueueOptions::default() };
        rig.enqueue_with(name, Act::Finish, options).await;
    }
    rig.engine.resume(super::rig::QUEUE).await.unwrap();
    for wanted in ["critical", "default", "bulk"] {
        assert!(matches!(rig.event().await, Event::Started { name, .. } if name == wanted));
        assert!(matches!(rig.event().await, Event::Finished { .. }));
    }
    rig.stop().await.unwrap();
}

#[test]
fn a_question_mark_in_a_job_means_again_later() {
    let error: JobError = std::io::Error::other("disk").into();
    assert!(matches!(error, JobError::Retry(_)));
}
