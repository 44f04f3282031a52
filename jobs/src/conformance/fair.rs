//! Cases of fair queues: shares among keys, order within a key, and the backlog behind a broker.
//!
//! An engine over a broker has some jobs in its queue already, which start in the order of publishing; cases look
//! behind these. Rates are not tested here: a job of another key starts after a few jobs, however long these take.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    Harness,
    kit::{QUEUE, consume, envelope, publish, retry, settle, take, until, until_empty},
};
use crate::{
    engine::{Alteration, Cancelled, Consumer, Engine, JobFilter, JobState, QueueSpec, Settlement, Weights},
    envelope::{Envelope, JobId},
    job::Priority,
};

/// More jobs than an engine has in a broker's queue while others wait for their turn, with few slots.
const HEAD: usize = 70;
/// Slots of the consumers here.
const SLOTS: usize = 4;

/// Declares [`QUEUE`] as fair; `None` for an engine without fair queues.
async fn declared(h: &impl Harness, weights: Weights) -> Option<Arc<dyn Engine>> {
    let engine = h.engine();
    if !engine.capabilities().fair_share {
        return None;
    }
    engine.declare(&[QueueSpec::new(QUEUE).fair(weights)]).await.expect("declares");
    Some(engine)
}

fn keyed(h: &impl Harness, key: &str) -> Envelope {
    Envelope { fair_key: Some(key.to_owned()), ..envelope(h) }
}

fn many(h: &impl Harness, key: &str, count: usize) -> Vec<Envelope> {
    (0..count).map(|_| keyed(h, key)).collect()
}

/// Runs the next job; returns it.
async fn run(consumer: &mut Consumer) -> Arc<Envelope> {
    let delivery = take(consumer).await;
    settle(consumer, &delivery, Settlement::Done);
    delivery.envelope
}

/// The keys of the next jobs.
async fn keys_of(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        keys.push(run(consumer).await.fair_key.clone().unwrap_or_default());
    }
    keys
}

fn count_of(keys: &[String], wanted: &str) -> usize {
    keys.iter().filter(|key| *key == wanted).count()
}

/// While all keys have jobs, their starts are as their weights, whatever the order of publishing.
pub async fn starts_follow_the_weights(h: &impl Harness) {
    let weights = Weights::equal().with("three", 3).with("two", 2);
    let Some(engine) = declared(h, weights).await else { return };
    let all = ["three", "two", "one"].map(|key| many(h, key, 300));
    publish(&*engine, all.concat()).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    keys_of(&mut consumer, HEAD).await;
    let keys = keys_of(&mut consumer, 300).await;
    for (key, wanted) in [("three", 150), ("two", 100), ("one", 50)] {
        let started = count_of(&keys, key);
        assert!(started.abs_diff(wanted) <= 6, "{key}: {started} of 300, wanted {wanted}");
    }
}

/// A job of another key is among the next few, however many jobs of one key wait.
pub async fn a_flood_of_one_key_delays_no_other(h: &impl Harness) {
    let Some(engine) = declared(h, Weights::equal()).await else { return };
    publish(&*engine, many(h, "flood", 5000)).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    keys_of(&mut consumer, 100).await;
    publish(&*engine, vec![keyed(h, "other")]).await;
    let few = if engine.capabilities().exact_priority { 2 * SLOTS + 1 } else { 3 * HEAD };
    let keys = keys_of(&mut consumer, few).await;
    assert_eq!(count_of(&keys, "other"), 1, "not among the next {few}");
}

/// Jobs without a key have one key together.
pub async fn jobs_without_a_key_share_one(h: &impl Harness) {
    let Some(engine) = declared(h, Weights::equal()).await else { return };
    let mut all: Vec<Envelope> = (0..200).map(|_| envelope(h)).collect();
    all.extend(many(h, "a", 200));
    publish(&*engine, all).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    keys_of(&mut consumer, HEAD).await;
    let keys = keys_of(&mut consumer, 100).await;
    assert!(count_of(&keys, "a").abs_diff(50) <= 5, "{keys:?}");
}

/// Fairness is within a priority.
pub async fn a_higher_priority_goes_first(h: &impl Harness) {
    let Some(engine) = declared(h, Weights::equal()).await else { return };
    if !engine.capabilities().exact_priority {
        return;
    }
    publish(&*engine, many(h, "a", 50)).await;
    let mut consumer = consume(&*engine, 1).await;
    keys_of(&mut consumer, 10).await;
    let urgent = Envelope { priority: Priority::Critical, ..keyed(h, "a") };
    let id = publish(&*engine, vec![urgent]).await[0];
    let next = [run(&mut consumer).await.id, run(&mut consumer).await.id, run(&mut consumer).await.id];
    assert!(next.contains(&id), "one was claimed already, and one start may be of another priority");
}

/// Jobs that come again after a retry or a snooze take the turns of their key, and no others.
pub async fn retries_and_snoozes_take_turns(h: &impl Harness) {
    const OTHERS: usize = 40;
    let Some(engine) = declared(h, Weights::equal()).await else { return };
    publish(&*engine, many(h, "failing", 300)).await;
    publish(&*engine, many(h, "other", OTHERS)).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    let (mut others, mut starts) = (0, 0);
    while others < OTHERS {
        let delivery = take(&mut consumer).await;
        starts += 1;
        let now = h.ambient().now();
        let outcome = if delivery.envelope.fair_key.as_deref() == Some("other") {
            others += 1;
            Settlement::Done
        } else if starts % 2 == 0 {
            retry(now)
        } else {
            Settlement::Snooze { at: now + Duration::from_millis(50) }
        };
        settle(&consumer, &delivery, outcome);
    }
    let most = 2 * OTHERS + if engine.capabilities().exact_priority { 3 * SLOTS } else { 3 * HEAD };
    assert!(starts <= most, "{starts} starts for {OTHERS} of the other key");
}

/// Jobs of one key start in the order of their publishing, over several calls.
pub async fn a_key_keeps_its_order(h: &impl Harness) {
    let Some(engine) = declared(h, Weights::equal()).await else { return };
    let mut published = Vec::new();
    for _ in 0..3 {
        let both = (0..100).map(|n| keyed(h, ["a", "b"][n % 2]));
        published.extend(publish(&*engine, both.collect()).await);
    }
    let mut consumer = consume(&*engine, 1).await;
    let mut started: [Vec<JobId>; 2] = Default::default();
    for _ in 0..300 {
        let job = run(&mut consumer).await;
        started[usize::from(job.fair_key.as_deref() == Some("b"))].push(job.id);
    }
    for (key, started) in started.iter().enumerate() {
        let wanted: Vec<JobId> = published.iter().copied().skip(key).step_by(2).collect();
        assert_eq!(*started, wanted);
    }
}

/// Every job of every key runs, also when a consumer is lost in between.
pub async fn no_turn_is_lost_with_a_consumer(h: &impl Harness) {
    let Some(engine) = declared(h, Weights::equal().with("a", 5)).await else { return };
    let all = ["a", "b", "c"].map(|key| many(h, key, 100)).concat();
    let mut left: HashSet<JobId> = publish(&*engine, all).await.into_iter().collect();
    let mut lost = consume(&*engine, 10).await;
    for _ in 0..50 {
        left.remove(&run(&mut lost).await.id);
    }
    for _ in 0..3 {
        take(&mut lost).await;
    }
    h.crash(lost).await;
    let mut consumer = consume(&*h.second().await, 10).await;
    while !left.is_empty() {
        left.remove(&run(&mut consumer).await.id);
    }
    // Outcomes of the lost consumer may not have been stored: their jobs run again.
    let copies = async {
        while let Some(copy) = consumer.deliveries.recv().await {
            settle(&consumer, &copy, Settlement::Done);
        }
    };
    tokio::select! {
        () = until("nothing waits", || async {
            let depth = engine.depth(QUEUE).await.expect("depth");
            depth.ready + depth.delayed == 0
        }) => {}
        () = copies => panic!("the consumer ended"),
    }
}

/// The backlog is counted, listed, found, cancelled and purged.
pub async fn what_waits_for_its_turn_is_in_sight(h: &impl Harness) {
    let Some(engine) = declared(h, Weights::equal()).await else { return };
    let ids = publish(&*engine, many(h, "a", 200)).await;
    let last = ids[199];
    let ready = || async { engine.depth(QUEUE).await.expect("depth").ready };
    until("all are counted", || async { ready().await == 200 }).await;
    assert_eq!(engine.depth(QUEUE).await.expect("depth").delayed, 0);
    let (queue, state) = (Some(QUEUE.to_owned()), Some(JobState::Ready));
    let filter = JobFilter { queue, state, limit: 1000, ..JobFilter::default() };
    let listed = engine.list(&filter).await.expect("lists");
    assert!(listed.iter().any(|job| job.envelope.id == last && job.state == JobState::Ready));
    let found = engine.find(last).await.expect("finds").expect("there");
    assert_eq!((found.state, found.envelope.fair_key.as_deref()), (JobState::Ready, Some("a")));
    assert_eq!(engine.cancel(last, "not wanted").await.expect("cancels"), Cancelled::Removed);
    until("one less is counted", || async { ready().await == 199 }).await;
    assert_eq!(engine.purge(QUEUE).await.expect("purges"), 199);
    until_empty(&*engine).await;
}

/// The keys with most jobs waiting are told with their weights, of a fair queue only.
pub async fn the_longest_backlogs_are_told_by_key(h: &impl Harness) {
    let plain = super::kit::declared(h).await;
    assert_eq!(plain.fair_keys(QUEUE, 10).await.expect("reads"), None, "not fair");
    let Some(engine) = declared(h, Weights::equal().with("b", 3)).await else { return };
    let keys = || async { engine.fair_keys(QUEUE, 2).await.expect("reads").expect("fair") };
    assert!(keys().await.is_empty());
    // Over a broker the first of them do not wait for a turn.
    let in_broker = if engine.capabilities().lists_ready { 0 } else { HEAD };
    publish(&*engine, [many(h, "a", 300 + in_broker), many(h, "b", 200), many(h, "c", 100)].concat()).await;
    let told = keys().await;
    assert_eq!(told.iter().map(|key| (&*key.key, key.weight)).collect::<Vec<_>>(), [("a", 1), ("b", 3)]);
    assert!(told[0].waiting >= 300 && told[1].waiting == 200, "{told:?}");
    engine.purge(QUEUE).await.expect("purges");
    until_empty(&*engine).await;
}

/// Jobs that wait when a queue becomes fair run, too.
pub async fn a_queue_becomes_fair_with_jobs_in_it(h: &impl Harness) {
    let plain = super::kit::declared(h).await;
    let mut left: HashSet<JobId> = publish(&*plain, many(h, "a", 100)).await.into_iter().collect();
    let Some(engine) = declared(h, Weights::equal()).await else { return };
    left.extend(publish(&*engine, many(h, "b", 100)).await);
    // A declaration that says nothing of it leaves the queue fair.
    super::kit::declared(h).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    while !left.is_empty() {
        assert!(left.remove(&run(&mut consumer).await.id), "each runs once");
    }
}

/// A job that gets another priority has a turn there.
pub async fn a_waiting_job_is_altered(h: &impl Harness) {
    let Some(engine) = declared(h, Weights::equal()).await else { return };
    let ids = publish(&*engine, many(h, "a", 150)).await;
    let altered = engine.alter(ids[149], Alteration::Priority(Priority::Critical)).await.expect("alters");
    assert!(altered, "it waits");
    let mut left: HashSet<JobId> = ids.iter().copied().collect();
    let mut consumer = consume(&*engine, SLOTS).await;
    while !left.is_empty() {
        let job = run(&mut consumer).await;
        let is_critical = job.priority == Priority::Critical;
        assert_eq!(is_critical, job.id == ids[149]);
        assert!(left.remove(&job.id), "each runs once");
    }
}
