//! The test kit, as an author of jobs would use it.

use std::time::Duration;

use orderworks_jobs::{
    Admin, Job,
    engine::{DeadReason, Interrupt, JobSignal, Settlement},
    testing::{TestRun, assert_enqueued, golden, run_one, virtual_time},
};
use tokio::sync::mpsc;

use super::rig::{Act, Brief, Probe, Rig, Script};

fn probe() -> Probe {
    Probe::new(mpsc::unbounded_channel()).0
}

fn script(act: Act) -> Script {
    Script { name: "s".to_owned(), act }
}

#[tokio::test(start_paused = true)]
async fn run_one_answers_what_a_worker_would_settle() {
    assert_eq!(run_one(&script(Act::Finish), probe()).await, Settlement::Done);
    let cancelled = Settlement::Cancelled { error: "pointless".to_owned() };
    assert_eq!(run_one(&script(Act::CancelItself), probe()).await, cancelled);
    let panicked = run_one(&script(Act::Panic), probe()).await;
    assert!(matches!(panicked, Settlement::Retry { error, .. } if error == "panicked: boom in s"));
    let late = Settlement::Dead { reason: DeadReason::Exhausted, error: "timed out after 5s".to_owned() };
    assert_eq!(run_one(&Brief, probe()).await, late);
}

#[tokio::test(start_paused = true)]
async fn attempts_and_delays_are_those_of_the_job() {
    let ambient = virtual_time(2);
    let delay = Duration::from_secs(90);
    let job = script(Act::RetryAfter(delay));
    let settled = TestRun::new(&job, probe()).ambient(ambient.clone()).run().await;
    let at = ambient.now() + delay;
    assert_eq!(settled, Settlement::Retry { at, error: "busy".to_owned() });
    let last = TestRun::new(&script(Act::FailUntil(99)), probe()).attempt(Script::MAX_ATTEMPTS).run().await;
    assert!(matches!(last, Settlement::Dead { reason: DeadReason::Exhausted, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_fired_signal_decides_what_a_failure_means() {
    for (why, wanted) in [
        (Interrupt::Shutdown, Settlement::Release),
        (Interrupt::Cancelled, Settlement::Cancelled { error: "interrupted: Cancelled".to_owned() }),
    ] {
        let signal = JobSignal::default();
        signal.fire(why);
        assert_eq!(TestRun::new(&script(Act::ObeySignal), probe()).signal(signal).run().await, wanted);
    }
    let signal = JobSignal::default();
    signal.fire(Interrupt::Cancelled);
    let done = TestRun::new(&script(Act::Finish), probe()).signal(signal).run().await;
    assert_eq!(done, Settlement::Done, "completed work is not undone by a late request");
}

#[tokio::test(start_paused = true)]
async fn enqueued_jobs_are_found_by_their_fields() {
    let rig = Rig::start(1).await;
    rig.engine.pause(super::rig::QUEUE).await.unwrap();
    rig.enqueue("one", Act::Finish).await;
    rig.enqueue("two", Act::Hang).await;
    let found = assert_enqueued::<Script>(&rig.engine, |script| script.name == "two").await;
    assert!(matches!(found.act, Act::Hang));
    rig.stop().await.unwrap();
}

#[test]
fn a_golden_payload_decodes() {
    let script: Script = golden(1, r#"{"name":"old","act":{"FailUntil":2}}"#);
    assert!(matches!(script.act, Act::FailUntil(2)));
}

#[test]
#[should_panic(expected = "script version 1: payload does not decode: missing field `act`")]
fn a_golden_payload_that_no_longer_decodes_fails_by_name() {
    golden::<Script>(1, r#"{"name":"old"}"#);
}
