//! Limits in virtual time: parking and waking, the loss and return of the store, runs past their lease.

use std::{sync::Arc, time::Duration};

use orderworks_jobs::{
    Admin, Engine, Registry, Workers,
    engine::{DeadReason, JobState},
    limits::{LEASE, Limit, PARKED_FOR},
    testing::{MemoryEngine, virtual_time},
    worker::WorkerError,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::rig::{Act, Event, Probe, QUEUE, Rig, Script},
    ledger::Ledger,
};

/// Long enough for everything but the end of a snooze.
const SOON: Duration = Duration::from_secs(10);

/// Scripts of which those named `ROAD/…` are limited by their road.
fn registry(limit: Limit) -> Arc<Registry<Probe>> {
    let registry = Registry::new().register::<Script>().unwrap();
    let road = |script: &Script| Some(script.name.split_once('/')?.0.to_owned());
    Arc::new(registry.limit(limit, road).unwrap())
}

/// Workers with four slots.
async fn rig(limit: Limit, ledger: &Arc<Ledger>) -> Rig {
    let ledger = Arc::clone(ledger);
    Rig::of(registry(limit), |workers, engine| workers.queue(QUEUE, 4).limiter(ledger, engine)).await
}

fn one_at_a_time() -> Limit {
    Limit::concurrent("roads", 1).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_parked_job_starts_when_a_slot_is_free_and_not_when_its_snooze_ends() {
    let ledger = Arc::default();
    let mut rig = rig(one_at_a_time(), &ledger).await;
    let first = rig.enqueue("a/first", Act::Gate).await;
    rig.started("a/first").await;
    let second = rig.enqueue("a/second", Act::Gate).await;
    let held = rig.in_state(second, JobState::Delayed).await;
    assert_eq!((held.envelope.attempt, held.crashes), (0, 0));
    let snooze = held.envelope.run_at.unwrap().duration_since(rig.ambient.now());
    assert!(Duration::try_from(snooze).unwrap() + SOON > PARKED_FOR, "{snooze:?}");
    for name in ["b/other", "free"] {
        rig.enqueue(name, Act::Finish).await;
        assert_eq!(timeout(SOON, rig.started(name)).await.expect("not held up"), 1);
    }
    rig.gate.add_permits(1);
    rig.gone(first).await;
    assert_eq!(timeout(SOON, rig.started("a/second")).await.expect("before its snooze ends"), 1);
    rig.gate.add_permits(1);
    rig.gone(second).await;
    assert_eq!(ledger.page().parkings, 1);
    rig.stop().await.unwrap();
    assert_eq!(ledger.page().leased("a"), 0, "an orderly stop gives all slots back");
}

#[tokio::test(start_paused = true)]
async fn jobs_under_a_limit_that_is_never_reached_cost_few_calls() {
    let ledger = Arc::default();
    let mut rig = rig(Limit::concurrent("roads", 100).unwrap(), &ledger).await;
    for n in 0..200 {
        rig.enqueue(&format!("{}/{n}", n % 4), Act::Finish).await;
    }
    let mut finished = 0;
    while finished < 200 {
        finished += u32::from(matches!(rig.event().await, Event::Finished { .. }));
    }
    let leases = ledger.page().leases;
    let parkings = ledger.page().parkings;
    assert!(leases < 50 && parkings == 0, "{leases} calls for 200 jobs, {parkings} parked");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rate_spreads_starts() {
    let (ledger, per) = (Arc::default(), Duration::from_secs(1));
    let mut rig = rig(Limit::rate("roads", 3, per).unwrap(), &ledger).await;
    for n in 0..12 {
        rig.enqueue(&format!("a/{n}"), Act::Finish).await;
    }
    let mut starts = Vec::new();
    while starts.len() < 12 {
        if let Event::Started { .. } = rig.event().await {
            starts.push(Instant::now());
        }
    }
    for window in starts.windows(4) {
        assert!(window[3] - window[0] >= per, "four starts in {:?}", window[3] - window[0]);
    }
    assert!(starts[11] - starts[0] < Duration::from_secs(30), "none waits for its snooze");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_past_its_lease_is_dropped_and_run_again_without_blame() {
    let ledger: Arc<Ledger> = Arc::default();
    let mut rig = rig(one_at_a_time(), &ledger).await;
    let id = rig.enqueue("a/long", Act::Hang).await;
    rig.started("a/long").await;
    let plain = rig.enqueue("plain", Act::Gate).await;
    rig.started("plain").await;
    sleep(LEASE * 3).await;
    let held = rig.engine.find(id).await.unwrap().unwrap();
    assert_eq!(held.state, JobState::Running, "renewed");
    ledger.page().away = true;
    let began = Instant::now();
    let held = rig.in_state(id, JobState::Delayed).await;
    assert!(began.elapsed() <= LEASE, "before the store gives its slot away");
    assert_eq!((held.envelope.attempt, held.crashes), (0, 0));
    ledger.page().away = false;
    ledger.page().take("a", "another", 1, Duration::from_mins(1));
    assert!(timeout(Duration::from_secs(50), rig.started("a/long")).await.is_err(), "others have its slot");
    assert_eq!(timeout(Duration::from_mins(1), rig.started("a/long")).await.expect("their lease ends"), 1);
    rig.gate.add_permits(1);
    rig.gone(plain).await;
    rig.abort.cancel();
    rig.running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_only_jobs_with_a_limit_wait() {
    let ledger: Arc<Ledger> = Arc::default();
    ledger.page().away = true;
    let mut rig = rig(one_at_a_time(), &ledger).await;
    let limited = rig.enqueue("a/limited", Act::Finish).await;
    rig.in_state(limited, JobState::Delayed).await;
    rig.enqueue("plain", Act::Finish).await;
    assert_eq!(timeout(SOON, rig.started("plain")).await.expect("untouched"), 1);
    assert!(timeout(Duration::from_mins(5), rig.started("a/limited")).await.is_err());
    ledger.page().away = false;
    let attempt = timeout(Duration::from_secs(30), rig.started("a/limited")).await.expect("resumes");
    assert_eq!(attempt, 1, "no attempt was used meanwhile");
    rig.gone(limited).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_with_a_long_key_is_dead() {
    let rig = rig(one_at_a_time(), &Arc::default()).await;
    let id = rig.enqueue(&format!("{}/long", "a".repeat(201)), Act::Finish).await;
    let (reason, error) = rig.dead(id).await;
    assert_eq!(reason, DeadReason::Undecodable);
    assert!(error.contains("key of 201 bytes for limit `roads`, at most 200"), "{error}");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn workers_without_a_store_for_their_limits_are_refused() {
    let ambient = virtual_time(7);
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(ambient.clone()));
    let (probe, _events) = Probe::new(mpsc::unbounded_channel());
    let workers = Workers::new(engine, registry(one_at_a_time()), probe, ambient).queue(QUEUE, 1);
    let error = workers.run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, WorkerError::NoLimiter { kind: "script", .. }), "{error}");
    assert!(error.to_string().contains("`Workers::limiter`"), "{error}");
}
