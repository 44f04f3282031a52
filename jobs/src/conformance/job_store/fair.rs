//! Cases of the backlog of fair queues: order of turns, claims, and what such jobs have in common with scheduled ones.

use std::collections::{HashMap, HashSet};

use base::Timestamp;
use futures::future::join_all;

use super::{QUEUE, StoreHarness, everything, ids, job, noon, seconds};
use crate::{
    engine::{FairKey, JobFilter, JobState, Weights},
    envelope::{Envelope, JobId},
    job::Priority,
    job_store::{Backlog, FairQueue, HELD_AT_ONCE_MAX, JobStore, ScheduledJob},
};

/// Declares the queue as fair.
async fn fair_store(h: &impl StoreHarness, weights: &Weights) -> std::sync::Arc<dyn JobStore> {
    let store = h.store();
    store.add_queues(&[QUEUE.to_owned()]).await.expect("adds");
    store.set_fair(QUEUE, weights).await.expect("sets");
    store
}

fn of_key(key: &str) -> ScheduledJob {
    let plain = job();
    let envelope = Envelope { fair_key: Some(key.to_owned()), ..plain.envelope };
    ScheduledJob { envelope, ..plain }
}

async fn hold(store: &dyn JobStore, jobs: &[ScheduledJob]) -> Vec<JobId> {
    for jobs in jobs.chunks(HELD_AT_ONCE_MAX) {
        store.hold(jobs.to_vec()).await.expect("holds");
    }
    ids(jobs)
}

async fn hold_many(store: &dyn JobStore, key: &str, count: usize) -> Vec<JobId> {
    hold(store, &(0..count).map(|_| of_key(key)).collect::<Vec<_>>()).await
}

async fn claim_at(store: &dyn JobStore, now: Timestamp, limit: u32) -> Vec<ScheduledJob> {
    let until = now + seconds(30);
    store.claim_next(QUEUE, Priority::Default, now, until, limit).await.expect("claims")
}

async fn claim(store: &dyn JobStore, limit: u32) -> Vec<ScheduledJob> {
    claim_at(store, noon(), limit).await
}

fn key_of(job: &ScheduledJob) -> String {
    job.envelope.fair_key.clone().unwrap_or_default()
}

/// At every moment, the starts of two keys that both have jobs are as their weights, but for a job of each.
pub async fn shares_keep_within_a_job_of_their_weights(h: &impl StoreHarness) {
    const JOBS: usize = 60;
    let mut random = 17_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for round in 0..5 {
        let names = ["a", "b", "c", "d"].map(|key| format!("{key}{round}"));
        let weights: HashMap<&String, u64> = names.iter().map(|name| (name, 1 + draw(9))).collect();
        let declared = weights.iter().fold(Weights::equal(), |all, (name, weight)| {
            all.with(name.as_str(), u32::try_from(*weight).expect("small"))
        });
        let store = fair_store(h, &declared).await;
        let mut jobs: Vec<ScheduledJob> =
            names.iter().flat_map(|name| (0..JOBS).map(move |_| of_key(name))).collect();
        // In any order, and in several batches.
        jobs.sort_by_cached_key(|_| draw(1 << 30));
        for batch in jobs.chunks(100) {
            hold(&*store, batch).await;
        }
        let mut started: HashMap<String, u64> = HashMap::new();
        let mut claims = Vec::new();
        while started.values().all(|count| *count < JOBS as u64) {
            let claimed = claim(&*store, u32::try_from(1 + draw(12)).expect("small")).await;
            for job in &claimed {
                *started.entry(key_of(job)).or_default() += 1;
                if started.values().any(|count| *count == JOBS as u64) {
                    break;
                }
                check_shares(&weights, &started);
            }
            claims.extend(claimed.iter().map(|job| (job.envelope.id, job.claim)));
        }
        store.unschedule(&claims).await.expect("deletes");
        store.purge(QUEUE, noon(), &[]).await.expect("purges");
    }
}

/// Starts over weight differ by no more than one job of each.
fn check_shares(weights: &HashMap<&String, u64>, started: &HashMap<String, u64>) {
    let of = |name: &String| started.get(name).copied().unwrap_or_default();
    for (&one, its) in weights {
        for (&other, others) in weights {
            let difference = (of(one) * others).abs_diff(of(other) * its);
            assert!(difference <= its + others, "{one} and {other}: {started:?} by {weights:?}");
        }
    }
}

/// A key that had nothing waiting begins now: neither behind the backlog of others, nor with what it did not use
/// before.
pub async fn a_newcomer_begins_with_the_next_turn(h: &impl StoreHarness) {
    let store = fair_store(h, &Weights::equal()).await;
    hold_many(&*store, "flood", 1000).await;
    assert_eq!(claim(&*store, 300).await.len(), 300);
    hold_many(&*store, "new", 300).await;
    let keys: Vec<String> = claim(&*store, 100).await.iter().map(key_of).collect();
    let new = keys.iter().filter(|key| *key == "new").count();
    assert!(keys[..2].contains(&"new".to_owned()) && new.abs_diff(50) <= 1, "{new} of 100");
}

/// Jobs of a key come in the order in which they were held, over several calls.
pub async fn a_key_keeps_its_order(h: &impl StoreHarness) {
    let (store, second) = (fair_store(h, &Weights::equal().with("a", 7)).await, h.second().await);
    let mut held = hold_many(&*store, "a", 20).await;
    hold_many(&*store, "", 30).await;
    held.extend(hold_many(&*second, "a", 20).await);
    let claimed = claim(&*store, 100).await;
    let of_a: Vec<JobId> =
        claimed.iter().filter(|job| key_of(job) == "a").map(|job| job.envelope.id).collect();
    assert_eq!((claimed.len(), of_a), (70, held));
}

/// A job that was claimed and not removed is available again at the end of its claim, before all that come after it.
pub async fn a_claim_on_a_turn_ends(h: &impl StoreHarness) {
    let (store, second) = (fair_store(h, &Weights::equal()).await, h.second().await);
    let held = hold_many(&*store, "a", 3).await;
    let first = claim(&*store, 1).await;
    assert_eq!(ids(&first), held[..1]);
    assert_eq!(ids(&claim(&*second, 1).await), held[1..2]);
    let later = noon() + seconds(30);
    let again = claim_at(&*second, later, 10).await;
    assert_eq!(ids(&again), held);
    // Under the claim that has ended, nothing is deleted.
    store.unschedule(&[(held[0], first[0].claim)]).await.expect("answers");
    assert_eq!(everything(&*store).await.len(), 3);
    let claims: Vec<_> = again.iter().map(|job| (job.envelope.id, job.claim)).collect();
    store.unschedule(&claims).await.expect("deletes");
    assert!(everything(&*store).await.is_empty());
}

/// Priorities have backlogs and clocks of their own.
pub async fn priorities_wait_apart(h: &impl StoreHarness) {
    let store = fair_store(h, &Weights::equal()).await;
    let urgent = of_key("a");
    let envelope = Envelope { priority: Priority::Critical, ..urgent.envelope };
    let urgent = hold(&*store, &[ScheduledJob { envelope, ..urgent }]).await;
    let usual = hold_many(&*store, "a", 2).await;
    let queue = |waits| vec![FairQueue { name: QUEUE.to_owned(), waits }];
    assert_eq!(store.fair_queues().await.expect("reads"), queue([true, true, false]));
    assert_eq!(ids(&claim(&*store, 10).await), usual);
    let until = noon() + seconds(30);
    let claimed = store.claim_next(QUEUE, Priority::Critical, noon(), until, 10).await.expect("claims");
    assert_eq!(ids(&claimed), urgent);
    let claims: Vec<_> = claimed.iter().map(|job| (job.envelope.id, job.claim)).collect();
    store.unschedule(&claims).await.expect("deletes");
    assert_eq!(store.fair_queues().await.expect("reads"), queue([false, true, false]), "claimed ones wait");
}

/// Such jobs are listed, found, counted, cancelled and purged among the scheduled ones, and never due.
pub async fn a_turn_is_waited_for_like_a_time(h: &impl StoreHarness) {
    let store = fair_store(h, &Weights::equal()).await;
    let held = hold_many(&*store, "a", 4).await;
    let scheduled = super::schedule(&*store, &[job()]).await;
    let list = async |state: Option<JobState>| {
        let filter = JobFilter { state, limit: 100, ..JobFilter::default() };
        ids(&store.scheduled(&filter).await.expect("lists"))
    };
    let mut by_id = held.clone();
    by_id.sort_unstable();
    assert_eq!(list(Some(JobState::Ready)).await, by_id);
    assert_eq!(list(Some(JobState::Delayed)).await, scheduled);
    assert_eq!(list(None).await.len(), 5);
    let found = store.find(held[0]).await.expect("finds").expect("there");
    assert!(found.fair && found.due_at == noon() && key_of(&found) == "a");
    let backlog = Backlog { jobs: 4, oldest: Some(noon()) };
    assert_eq!(store.backlog(QUEUE, 10).await.expect("counts"), backlog);
    assert_eq!(store.backlog("letters", 10).await.expect("counts"), Backlog::default());
    let more = super::schedule(&*store, &[job(), job()]).await;
    for (most, counted) in [(0, 0), (2, 2), (3, 3), (u64::MAX, 3)] {
        assert_eq!(store.scheduled_count(QUEUE, most).await.expect("counts"), counted, "up to {most}");
    }
    for id in more {
        assert!(store.cancel(id, "counted", noon()).await.expect("cancels"), "it is deleted");
    }
    let now = noon() + seconds(60);
    assert_eq!(store.claim_due(now, now + seconds(30), 100).await.expect("claims").len(), 1);
    assert!(store.cancel(held[3], "not wanted", now).await.expect("cancels"), "it is deleted");
    assert!(store.claim(held[0], now, now + seconds(30)).await.expect("claims").is_some());
    assert_eq!(ids(&claim_at(&*store, now, 100).await), held[1..3], "one is claimed by its id");
    assert_eq!(store.purge(QUEUE, now, &[]).await.expect("purges"), 4);
    assert_eq!(store.fair_queues().await.expect("reads")[0].waits, [false; 3]);
}

/// Each priority is counted up to the limit, by the jobs that have the first turns.
pub async fn each_priority_is_counted_up_to_the_limit(h: &impl StoreHarness) {
    let store = fair_store(h, &Weights::equal()).await;
    let held = [(Priority::Default, 2), (Priority::Default, 3), (Priority::Bulk, 5), (Priority::Bulk, 6)];
    let jobs = held.map(|(priority, at)| {
        let plain = of_key("a");
        let envelope = Envelope { priority, ..plain.envelope };
        ScheduledJob { envelope, due_at: noon() + seconds(at), ..plain }
    });
    hold(&*store, &jobs).await;
    let oldest = Some(noon() + seconds(2));
    for (most, backlog) in [
        (0, Backlog::default()),
        (1, Backlog { jobs: 2, oldest }),
        (2, Backlog { jobs: 4, oldest }),
        (u32::MAX, Backlog { jobs: 4, oldest }),
    ] {
        assert_eq!(store.backlog(QUEUE, most).await.expect("counts"), backlog, "up to {most}");
    }
    let urgent = of_key("b");
    let envelope = Envelope { priority: Priority::Critical, ..urgent.envelope };
    hold(&*store, &[ScheduledJob { envelope, due_at: noon() + seconds(1), ..urgent }]).await;
    let backlog = Backlog { jobs: 3, oldest: Some(noon() + seconds(1)) };
    assert_eq!(store.backlog(QUEUE, 1).await.expect("counts"), backlog);
}

/// A job that is held goes from its time to its turn, and back when it is scheduled again.
pub async fn a_job_changes_how_it_waits(h: &impl StoreHarness) {
    let store = fair_store(h, &Weights::equal()).await;
    let one = of_key("a");
    let id = super::schedule(&*store, std::slice::from_ref(&one)).await[0];
    let due = store.claim_due(noon(), noon() + seconds(30), 1).await.expect("claims");
    hold(&*store, &due).await;
    store.unschedule(&[(id, due[0].claim)]).await.expect("answers");
    assert_eq!(ids(&claim(&*store, 10).await), [id], "held, it is no longer under the claim of before");
    store.schedule(vec![one]).await.expect("schedules");
    assert!(claim(&*store, 10).await.is_empty());
    assert_eq!(ids(&store.claim_due(noon(), noon() + seconds(30), 1).await.expect("claims")), [id]);
}

/// Of two jobs with one id in a batch, the one that used more attempts is held, once.
pub async fn a_batch_may_hold_a_job_twice(h: &impl StoreHarness) {
    let store = fair_store(h, &Weights::equal()).await;
    let one = of_key("a");
    let used = Envelope { attempt: 2, ..one.envelope.clone() };
    let used = ScheduledJob { envelope: used, ..one.clone() };
    hold(&*store, &[one.clone(), used, one]).await;
    let claimed = claim(&*store, 10).await;
    assert_eq!((claimed.len(), claimed[0].envelope.attempt), (1, 2));
    store.hold(Vec::new()).await.expect("holds nothing");
}

/// Many claimants in two processes share a backlog: each job goes to one, none is left.
pub async fn processes_never_share_a_turn(h: &impl StoreHarness) {
    const JOBS: usize = 500;
    let stores = [fair_store(h, &Weights::equal()).await, h.second().await];
    for key in ["a", "b"] {
        hold_many(&*stores[0], key, JOBS / 2).await;
    }
    let claimants = (0..6).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let some = claim(&*store, 17).await;
                if some.is_empty() {
                    return mine;
                }
                let claims: Vec<_> = some.iter().map(|job| (job.envelope.id, job.claim)).collect();
                store.unschedule(&claims).await.expect("deletes");
                mine.extend(ids(&some));
            }
        })
    });
    let shares: Vec<_> = join_all(claimants).await.into_iter().map(|share| share.expect("ends")).collect();
    let claimed: Vec<JobId> = shares.concat();
    let distinct: HashSet<&JobId> = claimed.iter().collect();
    // A claim finds nothing while others hold the rows, which ends a claimant early; the remaining jobs stay.
    let left = claim(&*stores[0], 1000).await;
    assert_eq!((distinct.len(), claimed.len() + left.len()), (claimed.len(), JOBS));
}

/// The keys with most jobs are told first, with their weights and without the escapes of the row.
pub async fn the_longest_backlogs_are_told_by_key(h: &impl StoreHarness) {
    let odd = "a \"b\" \\ \u{e9}";
    let store = fair_store(h, &Weights::equal().with(odd, 4)).await;
    assert!(store.waiting_keys(QUEUE, 10).await.expect("reads").is_empty());
    hold_many(&*store, "few", 2).await;
    hold_many(&*store, odd, 5).await;
    hold_many(&*store, "", 3).await;
    let key = |key: &str, weight, waiting| FairKey { key: key.to_owned(), weight, waiting };
    let told = store.waiting_keys(QUEUE, 2).await.expect("reads");
    assert_eq!(told, [key(odd, 4, 5), key("", 1, 3)]);
    assert_eq!(claim(&*store, 1).await.len(), 1);
    let told = store.waiting_keys(QUEUE, 10).await.expect("reads");
    assert_eq!(told.iter().map(|key| key.waiting).sum::<u64>(), 10, "claimed ones wait");
    assert!(store.waiting_keys("letters", 10).await.expect("reads").is_empty());
}

/// A row that cannot be read takes the turn of no key, and stays for an operator.
pub async fn an_unreadable_turn_is_set_aside(h: &impl StoreHarness) {
    let store = fair_store(h, &Weights::equal()).await;
    hold_many(&*store, "a", 1).await;
    h.spoil_scheduled().await;
    let good = hold_many(&*store, "a", 1).await;
    assert!(claim(&*store, 1).await.is_empty());
    assert_eq!(ids(&claim_at(&*store, noon() + seconds(40), 1).await), good);
    assert_eq!(store.scheduled_count(QUEUE, u64::MAX).await.expect("counts"), 1);
}
