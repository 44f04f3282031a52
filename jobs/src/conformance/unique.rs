//! Cases of unique keys: the sets of states, and periods.
//!
//! Periods are tested by jobs whose first publish lies in the past, so that no case waits for long.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    Harness,
    kit::{
        QUEUE, answers, close, consume, declared, envelope, not_unique, publish, retry, settle, take, until,
        until_dead,
    },
};
use crate::{
    engine::{DeadFilter, DeadReason, Engine, EngineError, HolderState, KeyHolder, Published, Settlement},
    envelope::{Envelope, JobId},
    unique::Unique,
};

const HOUR: Duration = Duration::from_hours(1);
/// What is left of a period that a case waits for: time enough to run a job, less than the kit's patience.
const LEFT: Duration = Duration::from_secs(4);

/// A job with the same key as all of these.
fn keyed(h: &impl Harness, unique: Unique) -> Envelope {
    Envelope { unique_key: Some("pack_parcel/p-1".to_owned()), unique, ..envelope(h) }
}

/// A job whose key is held for an hour, of which so much is over.
fn hourly(h: &impl Harness, over: Duration) -> Envelope {
    let created_at = h.ambient().now() - over;
    Envelope { created_at, ..keyed(h, Unique::WHILE_ACTIVE.within(HOUR)) }
}

fn dead() -> Settlement {
    Settlement::Dead { reason: DeadReason::Exhausted, error: "timeout".to_owned() }
}

/// Publishes the job and settles its delivery.
async fn run(engine: &Arc<dyn Engine>, job: Envelope, settlement: Settlement) -> JobId {
    let id = publish(&**engine, vec![job]).await[0];
    let mut consumer = consume(&**engine, 1).await;
    let delivery = take(&mut consumer).await;
    assert_eq!(delivery.envelope.id, id);
    settle(&consumer, &delivery, settlement);
    close(&consumer).await;
    id
}

/// A key that is held while its job waits is free once a worker has fetched the job, and a retry does not take it back.
pub async fn a_key_of_a_waiting_job_is_free_once_it_is_fetched(h: &impl Harness) {
    let engine = declared(h).await;
    let keyed = || keyed(h, Unique::WHILE_WAITING);
    let first = publish(&*engine, vec![keyed()]).await[0];
    assert_eq!(answers(&*engine, vec![keyed()]).await, [not_unique(first)]);
    let mut consumer = consume(&*engine, 1).await;
    let delivery = take(&mut consumer).await;
    let second = publish(&*engine, vec![keyed()]).await[0];
    assert_eq!(answers(&*engine, vec![keyed()]).await, [not_unique(second)], "now the second one waits");
    settle(&consumer, &delivery, retry(h.ambient().now()));
    let mut ran = HashSet::new();
    for _ in 0..2 {
        let delivery = take(&mut consumer).await;
        assert!(ran.insert(delivery.envelope.id), "each runs once more");
        settle(&consumer, &delivery, Settlement::Done);
    }
    assert_eq!(ran, [first, second].into());
    close(&consumer).await;
    publish(&*engine, vec![keyed()]).await;
}

/// A key that is held while its job is kept stays with a dead job, which it does not keep from being retried, and is
/// free once the job is dropped.
pub async fn a_kept_key_stays_with_a_dead_job(h: &impl Harness) {
    let engine = declared(h).await;
    let keyed = || keyed(h, Unique::WHILE_KEPT);
    let id = run(&engine, keyed(), dead()).await;
    until_dead(&*engine, id).await;
    let holder = KeyHolder { id, state: HolderState::Dead };
    assert_eq!(answers(&*engine, vec![keyed()]).await, [Published::NotUnique(holder)]);
    assert!(engine.retry_now(id).await.expect("retries"), "its own key is not in its way");
    let mut consumer = consume(&*engine, 1).await;
    let delivery = take(&mut consumer).await;
    assert_eq!(answers(&*engine, vec![keyed()]).await, [not_unique(id)], "while it runs again");
    settle(&consumer, &delivery, dead());
    until_dead(&*engine, id).await;
    assert_eq!(answers(&*engine, vec![keyed()]).await, [Published::NotUnique(holder)]);
    let all = DeadFilter { queue: Some(QUEUE.to_owned()), limit: 10, ..DeadFilter::default() };
    assert_eq!(engine.drop_dead(&all).await.expect("drops"), 1);
    publish(&*engine, vec![keyed()]).await;
}

/// The period of a key counts when its job has ended, for other jobs and for the job itself; one that is over does not.
pub async fn a_period_outlasts_its_job(h: &impl Harness) {
    let engine = declared(h).await;
    run(&engine, hourly(h, 2 * HOUR), Settlement::Done).await;
    let job = hourly(h, Duration::ZERO);
    let id = run(&engine, job.clone(), Settlement::Done).await;
    let held = KeyHolder { id, state: HolderState::Period };
    let refused = async |unique| answers(&*engine, vec![keyed(h, unique)]).await;
    assert_eq!(refused(Unique::WHILE_ACTIVE).await, [Published::NotUnique(held)]);
    assert_eq!(refused(Unique::WHILE_WAITING).await, [Published::NotUnique(held)], "whatever it asks for");
    assert_eq!(engine.publish(vec![job]).await.expect("publishes"), [Published::Duplicate]);
}

/// A period ends by itself.
pub async fn a_period_ends_at_its_time(h: &impl Harness) {
    let engine = declared(h).await;
    run(&engine, hourly(h, HOUR.saturating_sub(LEFT)), Settlement::Done).await;
    let next = hourly(h, Duration::ZERO);
    let first = answers(&*engine, vec![next.clone()]).await;
    assert!(matches!(first[..], [Published::NotUnique(KeyHolder { state: HolderState::Period, .. })]));
    until("the period is over", || async {
        answers(&*engine, vec![next.clone()]).await == [Published::Accepted]
    })
    .await;
}

/// A dead job whose key is held by the period of another one stays dead and says so, until the period is over.
pub async fn a_dead_job_waits_for_the_period_of_another(h: &impl Harness) {
    let engine = declared(h).await;
    let id = run(&engine, keyed(h, Unique::WHILE_ACTIVE), dead()).await;
    until_dead(&*engine, id).await;
    let other = run(&engine, hourly(h, HOUR.saturating_sub(LEFT)), Settlement::Done).await;
    let all = DeadFilter { queue: Some(QUEUE.to_owned()), limit: 10, ..DeadFilter::default() };
    let redriven = async || engine.redrive(&all).await.expect("redrives");
    assert!(redriven().await.is_empty());
    let retried = engine.retry_now(id).await;
    let holder = KeyHolder { id: other, state: HolderState::Period };
    assert!(
        matches!(&retried, Err(EngineError::NotUnique { id: told, holder: by }) if (*told, *by) == (id, holder)),
        "{retried:?}"
    );
    until("it is redriven", || async { redriven().await == [id] }).await;
    assert_eq!(take(&mut consume(&*engine, 1).await).await.envelope.id, id);
}
