//! Cases of order keys: jobs of a queue and key run one after the other, in the order of publishing.
//!
//! An engine without the capability refuses such jobs, which each case tests then. Random runs are in
//! [`super::ordered_random`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Harness,
    kit::{
        QUEUE, answers, consume, envelope, not_unique, nothing_comes, publish, retry, settle, take, until,
        until_dead,
    },
};
use crate::{
    engine::{
        Alteration, Cancelled, ConsumeOptions, Consumer, DeadReason, Delivery, Engine, EngineError,
        JobFilter, JobState, Published, QueueSpec, Settlement,
    },
    envelope::{Envelope, JobId},
    job::Priority,
};

/// Slots of the consumers here: more than there are jobs that may run.
const SLOTS: usize = 8;
/// Delay of retries and snoozes: long enough to see that nothing comes meanwhile.
const SOON: Duration = Duration::from_secs(1);

/// Declares [`QUEUE`]; `None` for an engine without order keys, which has to refuse jobs with one.
pub(super) async fn declared(h: &impl Harness) -> Option<Arc<dyn Engine>> {
    let engine = super::kit::declared(h).await;
    if engine.capabilities().order_keys {
        return Some(engine);
    }
    let refused = engine.publish(vec![keyed(h, "a")]).await;
    assert!(matches!(refused, Err(EngineError::Refused(_))), "{refused:?}");
    None
}

pub(super) fn keyed(h: &impl Harness, key: &str) -> Envelope {
    Envelope { order_key: Some(key.to_owned()), ..envelope(h) }
}

fn many(h: &impl Harness, key: &str, count: usize) -> Vec<Envelope> {
    (0..count).map(|_| keyed(h, key)).collect()
}

/// Takes the job that must be next, and no other.
async fn take_this(consumer: &mut Consumer, id: JobId) -> Delivery {
    let delivery = take(consumer).await;
    assert_eq!(delivery.envelope.id, id);
    delivery
}

async fn run_these(consumer: &mut Consumer, ids: &[JobId]) {
    for id in ids {
        let delivery = take_this(consumer, *id).await;
        settle(consumer, &delivery, Settlement::Done);
    }
}

/// With more slots than keys in two processes, each key has one job under way, in the order of publishing over several
/// calls, whatever the order in which jobs of other keys end, and whatever the priorities.
pub async fn a_key_keeps_its_sequence(h: &impl Harness) {
    const KEYS: usize = 5;
    const ROUNDS: usize = 12;
    let Some(engine) = declared(h).await else { return };
    let mut left: HashMap<String, Vec<JobId>> = HashMap::new();
    for round in 0..ROUNDS {
        let priority = Priority::ALL[round % 3];
        let jobs: Vec<Envelope> =
            (0..KEYS).map(|key| Envelope { priority, ..keyed(h, &format!("key {key}")) }).collect();
        for job in &jobs {
            left.entry(job.order_key.clone().unwrap_or_default()).or_default().push(job.id);
        }
        publish(&*engine, jobs).await;
    }
    let mut consumers = [consume(&*engine, SLOTS).await, consume(&*h.second().await, SLOTS).await];
    let mut under_way: Vec<(usize, String, Delivery)> = Vec::new();
    while left.values().any(|ids| !ids.is_empty()) {
        let (here, delivery) = take_any(&mut consumers).await;
        let key = delivery.envelope.order_key.clone().unwrap_or_default();
        assert!(under_way.iter().all(|(_, other, _)| *other != key), "two jobs of {key} at once");
        assert_eq!(left.get(&key).and_then(|ids| ids.first()), Some(&delivery.envelope.id), "{key}");
        under_way.push((here, key, delivery));
        if under_way.len() == KEYS {
            // The keys end in an order of their own.
            under_way.rotate_left(2);
            for (here, key, delivery) in under_way.drain(..) {
                left.entry(key).or_default().remove(0);
                settle(&consumers[here], &delivery, Settlement::Done);
            }
        }
    }
}

/// The next delivery of either consumer, with the index of that.
pub(super) async fn take_any(consumers: &mut [Consumer; 2]) -> (usize, Delivery) {
    let [first, second] = consumers;
    tokio::select! {
        delivery = take(first) => (0, delivery),
        delivery = take(second) => (1, delivery),
    }
}

/// A line of one key holds up neither other keys nor jobs without one.
pub async fn no_other_job_is_held_up(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let ids = publish(&*engine, many(h, "slow", 100)).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    let slow = take_this(&mut consumer, ids[0]).await;
    let mut others: HashSet<JobId> =
        publish(&*engine, vec![keyed(h, "other"), envelope(h), keyed(h, "")]).await.into_iter().collect();
    while !others.is_empty() {
        let delivery = take(&mut consumer).await;
        assert!(others.remove(&delivery.envelope.id), "neither a job behind another one, nor one twice");
        settle(&consumer, &delivery, Settlement::Done);
    }
    settle(&consumer, &slow, Settlement::Done);
    run_these(&mut consumer, &ids[1..5]).await;
}

/// While a job waits for its retry, or for the end of a snooze, its key is held.
pub async fn a_retry_and_a_snooze_hold_the_key(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let ids = publish(&*engine, many(h, "a", 3)).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    for snoozes in [false, true] {
        let first = take_this(&mut consumer, ids[0]).await;
        let at = h.ambient().now() + SOON;
        settle(&consumer, &first, if snoozes { Settlement::Snooze { at } } else { retry(at) });
        nothing_comes(&mut consumer).await;
    }
    let again = take_this(&mut consumer, ids[0]).await;
    assert_eq!(again.envelope.attempt, 1);
    settle(&consumer, &again, Settlement::Release);
    run_these(&mut consumer, &ids).await;
}

/// A dead job lets the next one go on. Redriven, it waits for the one under way, and goes before the others.
pub async fn a_dead_job_lets_the_next_go_on(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let ids = publish(&*engine, many(h, "a", 4)).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    run_these(&mut consumer, &ids[..1]).await;
    let dying = take_this(&mut consumer, ids[1]).await;
    let error = "no such parcel".to_owned();
    settle(&consumer, &dying, Settlement::Dead { reason: DeadReason::Exhausted, error });
    let next = take_this(&mut consumer, ids[2]).await;
    until_dead(&*engine, ids[1]).await;
    assert!(engine.retry_now(ids[1]).await.expect("redrives"));
    nothing_comes(&mut consumer).await;
    settle(&consumer, &next, Settlement::Done);
    run_these(&mut consumer, &[ids[1], ids[3]]).await;
    // With nothing else of its key, a redriven job starts at once.
    let last = publish(&*engine, many(h, "a", 1)).await;
    let dying = take_this(&mut consumer, last[0]).await;
    let error = "no such parcel".to_owned();
    settle(&consumer, &dying, Settlement::Dead { reason: DeadReason::Exhausted, error });
    until_dead(&*engine, last[0]).await;
    assert!(engine.retry_now(last[0]).await.expect("redrives"));
    run_these(&mut consumer, &last).await;
}

/// A job that lost its consumer comes again before the others of its key.
pub async fn a_crash_keeps_the_key(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let ids = publish(&*engine, many(h, "a", 3)).await;
    let mut lost = consume(&*engine, SLOTS).await;
    take_this(&mut lost, ids[0]).await;
    h.crash(lost).await;
    let mut consumer = consume(&*h.second().await, SLOTS).await;
    let again = take_this(&mut consumer, ids[0]).await;
    assert_eq!(again.crashes, 1);
    nothing_comes(&mut consumer).await;
    settle(&consumer, &again, Settlement::Done);
    run_these(&mut consumer, &ids[1..]).await;
}

/// In a paused queue nothing starts, and what is published waits in order.
pub async fn a_pause_keeps_the_sequence(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let mut ids = publish(&*engine, many(h, "a", 2)).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    let first = take_this(&mut consumer, ids[0]).await;
    engine.pause(QUEUE).await.expect("pauses");
    settle(&consumer, &first, Settlement::Done);
    ids.extend(publish(&*engine, many(h, "a", 2)).await);
    nothing_comes(&mut consumer).await;
    engine.resume(QUEUE).await.expect("resumes");
    run_these(&mut consumer, &ids[1..]).await;
}

/// A cancelled job lets the next one go on, whether it runs, waits for its time or waits behind another one.
pub async fn a_cancelled_job_lets_the_next_go_on(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let ids = publish(&*engine, many(h, "a", 4)).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    let first = take_this(&mut consumer, ids[0]).await;
    assert_eq!(engine.cancel(ids[2], "not wanted").await.expect("cancels"), Cancelled::Removed);
    assert_eq!(engine.cancel(ids[0], "not wanted").await.expect("cancels"), Cancelled::Requested);
    settle(&consumer, &first, Settlement::Cancelled { error: "not wanted".to_owned() });
    run_these(&mut consumer, &[ids[1], ids[3]]).await;
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    let delayed = Envelope { run_at: later, ..keyed(h, "b") };
    let ids = publish(&*engine, vec![delayed, keyed(h, "b")]).await;
    nothing_comes(&mut consumer).await;
    assert_eq!(engine.cancel(ids[0], "not wanted").await.expect("cancels"), Cancelled::Removed);
    run_these(&mut consumer, &ids[1..]).await;
}

/// The earliest start of a job holds up those behind it; one behind it is not started before it by an operator.
pub async fn a_start_time_holds_the_key(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let run_at = Some(h.ambient().now() + 2 * SOON);
    let ids = publish(&*engine, vec![Envelope { run_at, ..keyed(h, "a") }, keyed(h, "a")]).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    assert!(engine.retry_now(ids[1]).await.expect("answers"));
    nothing_comes(&mut consumer).await;
    let first = take_this(&mut consumer, ids[0]).await;
    assert!(Some(h.ambient().now()) >= run_at);
    settle(&consumer, &first, Settlement::Done);
    run_these(&mut consumer, &ids[1..]).await;
}

/// What waits behind which job is listed, found and counted; a purge deletes it and leaves the key to the one that
/// runs.
pub async fn what_waits_behind_a_job_is_in_sight(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let ids = publish(&*engine, many(h, "a", 3)).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    let first = take_this(&mut consumer, ids[0]).await;
    let (queue, state) = (Some(QUEUE.to_owned()), Some(JobState::Delayed));
    let filter = JobFilter { queue, state, limit: 100, ..JobFilter::default() };
    until("the others are listed behind the first", || async {
        let listed = engine.list(&filter).await.expect("lists");
        // By id, which is not the order of publishing within a millisecond.
        let behind: HashMap<_, _> = listed.iter().map(|job| (job.envelope.id, job.behind)).collect();
        behind == HashMap::from([(ids[1], Some(ids[0])), (ids[2], Some(ids[0]))])
    })
    .await;
    let found = engine.find(ids[1]).await.expect("finds").expect("there");
    assert_eq!((found.state, found.behind), (JobState::Delayed, Some(ids[0])));
    assert_eq!(found.envelope.order_key.as_deref(), Some("a"));
    let depth = engine.depth(QUEUE).await.expect("depth");
    assert_eq!((depth.ready, depth.delayed), (0, 2));
    assert_eq!(engine.purge(QUEUE).await.expect("purges"), 2);
    let next = publish(&*engine, many(h, "a", 1)).await;
    nothing_comes(&mut consumer).await;
    settle(&consumer, &first, Settlement::Done);
    run_these(&mut consumer, &next).await;
    until("nothing waits", || async {
        let depth = engine.depth(QUEUE).await.expect("depth");
        depth.ready + depth.delayed == 0
    })
    .await;
}

/// A key belongs to its queue: a job that is moved to another one joins the jobs of the key there, and those behind it
/// go on. Neither a priority nor a time changes the order.
pub async fn a_job_moves_to_the_line_of_another_queue(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    engine.declare(&[QueueSpec::new("letters")]).await.expect("declares");
    let ids = publish(&*engine, many(h, "a", 4)).await;
    let there = Envelope { queue: "letters".to_owned(), ..keyed(h, "a") };
    let there = publish(&*engine, vec![there]).await;
    let mut consumer = consume(&*engine, SLOTS).await;
    let first = take_this(&mut consumer, ids[0]).await;
    let moved = Alteration::Queue("letters".to_owned());
    assert!(engine.alter(ids[1], moved).await.expect("alters"), "it waits");
    let urgent = Alteration::Priority(Priority::Critical);
    assert!(engine.alter(ids[3], urgent).await.expect("alters"), "it waits");
    let (lease, name) = (Duration::from_secs(30), "letters".to_owned());
    let options = ConsumeOptions { name, prefetch: SLOTS, lease };
    let mut letters = engine.consume("letters", options).await.expect("consumes");
    run_these(&mut letters, &[there[0], ids[1]]).await;
    settle(&consumer, &first, Settlement::Done);
    run_these(&mut consumer, &ids[2..]).await;
}

/// A job that is refused, as another one holds its unique key, has no place in the line.
pub async fn a_refused_duplicate_holds_no_key(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let unique = || Envelope { unique_key: Some("once".to_owned()), ..keyed(h, "a") };
    let first = unique();
    let id = first.id;
    let jobs = vec![first, Envelope { order_key: Some("b".to_owned()), ..unique() }, keyed(h, "b")];
    let last = jobs[2].id;
    let expected = [Published::Accepted, not_unique(id), Published::Accepted];
    assert_eq!(answers(&*engine, jobs).await, expected);
    let mut consumer = consume(&*engine, SLOTS).await;
    let both = HashSet::from([take(&mut consumer).await.envelope.id, take(&mut consumer).await.envelope.id]);
    assert_eq!(both, HashSet::from([id, last]));
}
