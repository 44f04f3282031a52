//! The stop order, step by step, and unexpected ends.

use std::time::Duration;

use orderworks_jobs::{
    engine::{Admin, EngineError, JobState},
    worker::{SHUTDOWN_GRACE, WorkerError},
};
use tokio::time::Instant;

use super::rig::{Act, Event, QUEUE, Rig};

#[tokio::test(start_paused = true)]
async fn a_drain_lets_a_running_job_finish_and_hands_back_what_was_fetched() {
    let mut rig = Rig::start(1).await;
    let running = rig.enqueue("running", Act::Gate).await;
    rig.started("running").await;
    let fetched = rig.enqueue("fetched", Act::Finish).await;
    // Delivered, but the only slot is in use.
    rig.in_state(fetched, JobState::Running).await;
    rig.shutdown.cancel();
    rig.shutdown.cancel();
    rig.gate.add_permits(1);
    rig.running.await.unwrap().unwrap();
    assert!(rig.engine.find(running).await.unwrap().is_none());
    let held = rig.engine.find(fetched).await.unwrap().unwrap();
    assert_eq!((held.state, held.envelope.attempt, held.crashes), (JobState::Ready, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_new_starts_during_a_drain() {
    let mut rig = Rig::start(1).await;
    rig.enqueue("running", Act::Gate).await;
    rig.started("running").await;
    rig.shutdown.cancel();
    let late = rig.enqueue("late", Act::Finish).await;
    rig.gate.add_permits(1);
    assert_eq!(rig.event().await, Event::Finished { name: "running".to_owned() });
    rig.running.await.unwrap().unwrap();
    let held = rig.engine.find(late).await.unwrap().unwrap();
    assert_eq!((held.state, held.envelope.attempt), (JobState::Ready, 0));
}

#[tokio::test(start_paused = true)]
async fn after_the_drain_jobs_are_told_to_stop_and_given_back_uncharged() {
    let mut rig = Rig::configured(2, |workers| workers.drain_timeout(Duration::from_secs(20))).await;
    let polite = rig.enqueue("polite", Act::ObeySignal).await;
    rig.started("polite").await;
    let deaf = rig.enqueue("deaf", Act::Hang).await;
    rig.started("deaf").await;
    let asked = Instant::now();
    rig.shutdown.cancel();
    rig.running.await.unwrap().unwrap();
    assert!(asked.elapsed() >= Duration::from_secs(20) + SHUTDOWN_GRACE);
    for id in [polite, deaf] {
        let held = rig.engine.find(id).await.unwrap().unwrap();
        assert_eq!((held.state, held.envelope.attempt, held.crashes), (JobState::Ready, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_stops_at_once_and_still_hands_back() {
    let mut rig = Rig::configured(1, |workers| workers.drain_timeout(Duration::from_mins(10))).await;
    let id = rig.enqueue("deaf", Act::Hang).await;
    rig.started("deaf").await;
    rig.shutdown.cancel();
    let asked = Instant::now();
    rig.abort.cancel();
    rig.running.await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1));
    let held = rig.engine.find(id).await.unwrap().unwrap();
    assert_eq!((held.state, held.envelope.attempt, held.crashes), (JobState::Ready, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_workers_are_a_crash() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("deaf", Act::Hang).await;
    rig.started("deaf").await;
    rig.running.abort();
    let held = rig.in_state(id, JobState::Ready).await;
    assert_eq!((held.envelope.attempt, held.crashes), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_engine_closed_for_good_ends_the_workers_with_its_name() {
    let mut rig = Rig::start(1).await;
    rig.gone(rig.enqueue("first", Act::Finish).await).await;
    rig.started("first").await;
    rig.engine.close();
    let error = rig.running.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, WorkerError::Engine { queue, source: EngineError::Closed } if queue == QUEUE),
        "{error:?}"
    );
}
