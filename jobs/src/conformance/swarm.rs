//! Cases of many consumers at once, some of them crashing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base::{Ambient, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Harness,
    kit::{close, consume, consume_with, declared, envelope, publish, settle, take, until_empty},
};
use crate::{
    engine::{Consumer, Engine, Settlement},
    envelope::JobId,
};

const JOBS: usize = 10_000;
const CONSUMERS: u64 = 8;
const PREFETCH: usize = 64;
/// Crashes per consumer; over all consumers fewer than the crash limit, so that no job may die.
const CRASHES_EACH: usize = 2;
const LEASE: Duration = Duration::from_secs(2);

/// Two consumers of different handles drain a queue and never get the same job.
pub async fn two_consumers_never_share_a_job(h: &impl Harness) {
    let engine = declared(h).await;
    let ids = publish(&*engine, (0..1000).map(|_| envelope(h)).collect()).await;
    let second = h.second().await;
    let (mut a, mut b) = (consume(&*engine, 20).await, consume(&*second, 20).await);
    let (mut seen, mut of_b) = (HashSet::new(), 0);
    // One delivery of each first, so that both take part.
    let first = take(&mut b).await;
    seen.insert(first.envelope.id);
    settle(&b, &first, Settlement::Done);
    while seen.len() < ids.len() {
        let (delivery, from) = tokio::select! {
            delivery = take(&mut a) => (delivery, &a),
            delivery = take(&mut b) => { of_b += 1; (delivery, &b) }
        };
        assert!(seen.insert(delivery.envelope.id), "delivered twice");
        settle(from, &delivery, Settlement::Done);
    }
    close(&a).await;
    close(&b).await;
    assert_eq!(seen, ids.into_iter().collect());
    assert!(of_b > 0, "both took part");
    until_empty(&*engine).await;
}

#[derive(Default)]
struct Effects {
    keys: Mutex<(HashSet<JobId>, usize)>,
    count: watch::Sender<usize>,
}

impl Effects {
    /// A handler idempotent by the job's id; every run is counted.
    fn apply(&self, id: JobId) {
        let mut keys = self.keys.lock();
        keys.0.insert(id);
        keys.1 += 1;
        self.count.send_replace(keys.0.len());
    }
}

/// Consumers crash at seeded moments; every job takes effect, and only jobs interrupted by a crash run again.
pub async fn nothing_is_lost_while_consumers_crash(h: &impl Harness) {
    let engine = declared(h).await;
    let ids = publish(&*engine, (0..JOBS).map(|_| envelope(h)).collect()).await;
    let effects = Arc::new(Effects::default());
    let runs = (0..CONSUMERS).map(|seed| work(h, engine.clone(), effects.clone(), seed));
    futures::future::join_all(runs).await;
    // Jobs returned by a late crash.
    drain(&*engine, &effects).await;
    until_empty(&*engine).await;
    let keys = effects.keys.lock();
    assert_eq!(keys.0, ids.into_iter().collect());
    let crashes = usize::try_from(CONSUMERS).expect("small") * CRASHES_EACH;
    assert!(keys.1 - JOBS <= crashes * PREFETCH, "{} runs for {JOBS} jobs", keys.1);
    assert!(keys.1 > JOBS, "crashes interrupted something");
}

async fn work(h: &impl Harness, engine: Arc<dyn Engine>, effects: Arc<Effects>, seed: u64) {
    let (dice, _) = Ambient::steered(seed, Timestamp::UNIX_EPOCH);
    for _ in 0..CRASHES_EACH {
        let mut consumer = consume_with(&*engine, PREFETCH, LEASE).await;
        let until_crash = 50 + dice.jitter(Duration::from_nanos(300)).subsec_nanos();
        for _ in 0..until_crash {
            let Some(delivery) = next(&mut consumer, &effects).await else { break };
            effects.apply(delivery.envelope.id);
            settle(&consumer, &delivery, Settlement::Done);
        }
        // The last job took effect, but its settlement is lost.
        if let Some(delivery) = next(&mut consumer, &effects).await {
            effects.apply(delivery.envelope.id);
        }
        h.crash(consumer).await;
    }
    drain(&*engine, &effects).await;
}

/// Runs jobs until all have taken effect and the queue stays quiet.
async fn drain(engine: &dyn Engine, effects: &Effects) {
    let mut consumer = consume_with(engine, PREFETCH, LEASE).await;
    while let Some(delivery) = next(&mut consumer, effects).await {
        effects.apply(delivery.envelope.id);
        settle(&consumer, &delivery, Settlement::Done);
    }
    close(&consumer).await;
}

/// The next delivery; `None` once all jobs have taken effect and the queue stays quiet.
async fn next(consumer: &mut Consumer, effects: &Effects) -> Option<crate::engine::Delivery> {
    let mut count = effects.count.subscribe();
    loop {
        let all = *count.borrow_and_update() == JOBS;
        let patience = if all { Duration::from_millis(500) } else { Duration::from_secs(10) };
        tokio::select! {
            delivery = consumer.deliveries.recv() => return delivery,
            changed = count.changed(), if !all => changed.expect("the sender lives"),
            () = tokio::time::sleep(patience) => {
                assert!(all, "no delivery for long, {} of {JOBS} done", *count.borrow());
                return None;
            }
        }
    }
}
