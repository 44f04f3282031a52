//! Random runs of jobs with order keys: whatever becomes of them, each key keeps its sequence.

use std::collections::HashMap;

use super::{
    Harness,
    kit::{QUEUE, consume, publish, retry, settle, until},
    ordered::{declared, keyed, take_any},
};
use crate::{
    engine::{Consumer, DeadReason, Delivery, Engine, Settlement},
    envelope::{Envelope, JobId},
};

const KEYS: usize = 4;
const JOBS: usize = 25;
/// Slots of each consumer.
const SLOTS: usize = 4;
/// Most jobs under way: fewer than the keys, so that another one may always start.
const UNDER_WAY_MAX: usize = 3;
/// Crashes of a run: no more than a job may survive without becoming a suspect.
const CRASHES: u32 = 2;

/// What is known of a key: its jobs in the order of publishing, and how far they are.
#[derive(Default)]
struct KeyLine {
    jobs: Vec<JobId>,
    /// Jobs whose end was settled.
    ended: usize,
    /// Index of the last job that was delivered.
    last: usize,
}

struct Run {
    lines: HashMap<String, KeyLine>,
    under_way: Vec<(usize, String, Delivery)>,
    /// Told by what fails.
    seed: u64,
    random: u64,
}

impl Run {
    fn draw(&mut self, below: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap_or(0) % below
    }

    fn is_over(&self) -> bool {
        self.under_way.is_empty() && self.lines.values().all(|line| line.ended == line.jobs.len())
    }

    /// Whether a key has a job that may start, now or after its delay.
    fn may_start(&self) -> bool {
        self.under_way.len() < UNDER_WAY_MAX
            && self.lines.iter().any(|(key, line)| {
                line.ended < line.jobs.len() && self.under_way.iter().all(|(_, other, _)| other != key)
            })
    }

    /// Notes a delivery, which must be the job that has not ended; or, after a crash that lost its outcome, the one
    /// before, as long as no later one has started.
    fn started(&mut self, here: usize, delivery: Delivery) {
        let key = delivery.envelope.order_key.clone().unwrap_or_default();
        assert!(
            self.under_way.iter().all(|(_, other, _)| *other != key),
            "two jobs of {key} at once, seed {}",
            self.seed
        );
        let line = self.lines.entry(key.clone()).or_default();
        let index = line.jobs.iter().position(|id| *id == delivery.envelope.id).expect("a job of its key");
        let (ended, last) = (line.ended, line.last);
        assert!((last..=ended).contains(&index), "{key}: {index} after {last}, seed {}", self.seed);
        (line.ended, line.last) = (index, index);
        self.under_way.push((here, key, delivery));
    }

    /// An outcome, and whether it ends the job.
    fn outcome(&mut self, h: &impl Harness) -> (Settlement, bool) {
        let now = h.ambient().now();
        let error = "the parcel is lost".to_owned();
        match self.draw(10) {
            0 => (retry(now), false),
            1 => (Settlement::Snooze { at: now + std::time::Duration::from_millis(30) }, false),
            2 => (Settlement::Release, false),
            3 => (Settlement::Dead { reason: DeadReason::Exhausted, error }, true),
            4 => (Settlement::Cancelled { error }, true),
            _ => (Settlement::Done, true),
        }
    }

    fn settle_one(&mut self, h: &impl Harness, consumers: &[Consumer; 2]) {
        let chosen = self.draw(self.under_way.len());
        let (here, key, delivery) = self.under_way.swap_remove(chosen);
        let (settlement, ends) = self.outcome(h);
        self.lines.entry(key).or_default().ended += usize::from(ends);
        settle(&consumers[here], &delivery, settlement);
    }
}

/// Publishes jobs of all keys in a random order, in batches of random sizes.
async fn published(h: &impl Harness, engine: &dyn Engine) -> Run {
    let mut seed = [0; 8];
    h.ambient().fill(&mut seed);
    let random = u64::from_le_bytes(seed);
    let mut run = Run { lines: HashMap::new(), under_way: Vec::new(), seed: random, random };
    let mut jobs: Vec<Envelope> = Vec::new();
    for _ in 0..KEYS * JOBS {
        let key = loop {
            let key = format!("key {}", run.draw(KEYS));
            if run.lines.get(&key).is_none_or(|line| line.jobs.len() < JOBS) {
                break key;
            }
        };
        let job = keyed(h, &key);
        run.lines.entry(key).or_default().jobs.push(job.id);
        jobs.push(job);
        if run.draw(6) == 0 {
            publish(engine, std::mem::take(&mut jobs)).await;
        }
    }
    publish(engine, jobs).await;
    run
}

/// Retries, snoozes, releases, deaths, cancellations and crashes in two processes: of no key do two jobs run at once,
/// and none starts before an earlier one has ended.
pub async fn no_outcome_breaks_a_sequence(h: &impl Harness) {
    let Some(engine) = declared(h).await else { return };
    let mut run = published(h, &*engine).await;
    let second = h.second().await;
    let mut consumers = [consume(&*engine, SLOTS).await, consume(&*second, SLOTS).await];
    let mut crashes = 0;
    while !run.is_over() {
        if run.may_start() {
            let (here, delivery) = take_any(&mut consumers).await;
            run.started(here, delivery);
        } else {
            run.settle_one(h, &consumers);
        }
        if crashes < CRASHES && run.draw(25) == 0 {
            crashes += 1;
            let next = consume(&*second, SLOTS).await;
            let lost = std::mem::replace(&mut consumers[1], next);
            run.under_way.retain(|(here, ..)| *here == 0);
            h.crash(lost).await;
        }
    }
    // The outcome of a lost consumer may not have been stored: then its job comes once more.
    let copies = async {
        for _ in 0..KEYS * JOBS {
            let (here, copy) = take_any(&mut consumers).await;
            settle(&consumers[here], &copy, Settlement::Done);
        }
    };
    let none_waits = until("nothing waits", || async {
        let depth = engine.depth(QUEUE).await.expect("depth");
        depth.ready + depth.delayed == 0
    });
    tokio::select! {
        () = none_waits => {}
        () = copies => {}
    }
}
