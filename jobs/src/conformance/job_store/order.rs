//! Cases of order keys: heads, the jobs behind them, and how a key passes on.

use std::collections::HashMap;

use futures::future::join_all;

use super::{QUEUE, StoreHarness, everything, ids, job, job_in, noon, seconds};
use crate::{
    engine::{DeadInfo, DeadReason},
    envelope::{Envelope, JobId},
    job_store::{DeadJob, JobStore, ScheduledJob},
};

fn keyed_in(queue: &str, key: &str) -> ScheduledJob {
    let plain = job_in(queue);
    let envelope = Envelope { order_key: Some(key.to_owned()), ..plain.envelope };
    ScheduledJob { envelope, ..plain }
}

async fn line_up(store: &dyn JobStore, jobs: &[ScheduledJob]) -> Vec<JobId> {
    store.line_up(jobs.to_vec(), noon()).await.expect("lines up");
    ids(jobs)
}

async fn line_up_many(store: &dyn JobStore, key: &str, count: usize) -> Vec<JobId> {
    line_up(store, &(0..count).map(|_| keyed_in(QUEUE, key)).collect::<Vec<_>>()).await
}

/// Claims what is due, and removes it as the engine does once it is published.
async fn publish_due(store: &dyn JobStore) -> Vec<JobId> {
    let due = store.claim_due(noon(), noon() + seconds(30), 100).await.expect("claims");
    let claims: Vec<_> = due.iter().map(|job| (job.envelope.id, job.claim)).collect();
    store.unschedule(&claims).await.expect("deletes");
    ids(&due)
}

async fn pass_on(store: &dyn JobStore, id: JobId) {
    store.pass_on(&[id], noon()).await.expect("passes on");
}

async fn holds(store: &dyn JobStore, key: &str, id: JobId) -> bool {
    store.take_key(QUEUE, key, id, noon()).await.expect("answers")
}

fn dead(job: &ScheduledJob) -> DeadJob {
    DeadJob {
        envelope: job.envelope.clone(),
        crashes: 0,
        last_error: None,
        info: DeadInfo { reason: DeadReason::Exhausted, first_failed_at: noon(), died_at: noon() },
        message: None,
        claim: 0,
    }
}

/// The first job of a key is due, the next one when that has ended, over several calls and processes; a key that no job
/// holds is taken by the next one.
pub async fn a_key_passes_on_in_the_order_of_publishing(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let mut lined = line_up_many(&*store, "a", 3).await;
    lined.extend(line_up_many(&*second, "a", 2).await);
    let plain = super::schedule(&*store, &[job()]).await;
    let mut due = publish_due(&*store).await;
    due.sort_unstable();
    let mut expected = vec![lined[0], plain[0]];
    expected.sort_unstable();
    assert_eq!(due, expected);
    for pair in lined.windows(2) {
        assert!(publish_due(&*store).await.is_empty(), "the one before has not ended");
        assert!(holds(&*second, "a", pair[0]).await && !holds(&*second, "a", pair[1]).await);
        pass_on(&*second, pair[0]).await;
        assert_eq!(publish_due(&*store).await, pair[1..]);
        // Once is enough: by a copy of an earlier job a key does not pass on.
        pass_on(&*store, pair[0]).await;
    }
    pass_on(&*store, lined[4]).await;
    let next = line_up_many(&*store, "a", 1).await;
    assert_eq!(publish_due(&*second).await, next);
}

/// Keys wait apart, as do the keys of two queues; a key may be empty, or of any text.
pub async fn keys_wait_apart(h: &impl StoreHarness) {
    let store = h.store();
    let jobs = [
        keyed_in(QUEUE, "a"),
        keyed_in(QUEUE, ""),
        keyed_in(QUEUE, "\u{1f4e6} \0 'quoted'"),
        keyed_in("letters", "a"),
    ];
    let first = line_up(&*store, &jobs).await;
    let again: Vec<ScheduledJob> = jobs
        .iter()
        .map(|one| keyed_in(&one.envelope.queue, one.envelope.order_key.as_deref().expect("a key")))
        .collect();
    let behind = line_up(&*store, &again).await;
    for expected in [first, behind] {
        let due = publish_due(&*store).await;
        assert_eq!(due.len(), 4);
        assert!(expected.iter().all(|id| due.contains(id)));
        store.pass_on(&expected, noon()).await.expect("passes on");
    }
    assert!(everything(&*store).await.is_empty());
}

/// Lined up again, a job keeps its place, whether it waits, is published or holds its key; a batch may name it twice.
pub async fn a_job_is_lined_up_once(h: &impl StoreHarness) {
    let store = h.store();
    let jobs = [keyed_in(QUEUE, "a"), keyed_in(QUEUE, "a")];
    let lined = line_up(&*store, &[jobs[0].clone(), jobs[1].clone(), jobs[0].clone()]).await;
    assert_eq!(publish_due(&*store).await, lined[..1]);
    line_up(&*store, &[jobs[1].clone(), jobs[0].clone()]).await;
    assert!(publish_due(&*store).await.is_empty());
    pass_on(&*store, lined[0]).await;
    assert_eq!(publish_due(&*store).await, lined[1..2]);
    pass_on(&*store, lined[1]).await;
    assert!(everything(&*store).await.is_empty());
    store.line_up(Vec::new(), noon()).await.expect("lines up nothing");
    store.pass_on(&[], noon()).await.expect("passes on nothing");
}

/// Jobs behind another one are scheduled ones that are never due, and say which one is before them; what is stored for
/// them again, as by an alteration, leaves them there.
pub async fn what_waits_behind_a_job_is_in_sight(h: &impl StoreHarness) {
    let store = h.store();
    let lined = line_up_many(&*store, "a", 3).await;
    assert_eq!(store.scheduled_count(QUEUE, u64::MAX).await.expect("counts"), 3);
    let found = store.find(lined[1]).await.expect("finds").expect("there");
    assert!(found.behind && !store.find(lined[0]).await.expect("finds").expect("there").behind);
    let mut heads = store.heads_of(&lined).await.expect("reads");
    heads.sort_unstable();
    let mut expected = vec![(lined[1], lined[0]), (lined[2], lined[0])];
    expected.sort_unstable();
    assert_eq!(heads, expected);
    let claimed = store.claim(lined[1], noon(), noon() + seconds(30)).await.expect("claims").expect("there");
    let earlier = ScheduledJob { due_at: noon() - seconds(60), ..claimed };
    store.schedule(vec![earlier]).await.expect("stores");
    assert_eq!(publish_due(&*store).await, lined[..1]);
    pass_on(&*store, lined[0]).await;
    assert_eq!(publish_due(&*store).await, lined[1..2]);
}

/// A dead job lets the next one go on, and takes its position when it is lined up again.
pub async fn a_dead_job_keeps_its_position(h: &impl StoreHarness) {
    let store = h.store();
    let jobs: Vec<ScheduledJob> = (0..4).map(|_| keyed_in(QUEUE, "a")).collect();
    let lined = line_up(&*store, &jobs).await;
    assert_eq!(publish_due(&*store).await, lined[..1]);
    for (n, job) in jobs[..2].iter().enumerate() {
        store.add_dead(vec![dead(job)]).await.expect("stores");
        assert_eq!(publish_due(&*store).await, [lined[n + 1]]);
    }
    // One that stays dead is stored again.
    store.add_dead(vec![dead(&jobs[0])]).await.expect("stores");
    line_up(&*store, &[jobs[1].clone(), jobs[0].clone()]).await;
    for pair in [lined[2], lined[0], lined[1], lined[3]].windows(2) {
        pass_on(&*store, pair[0]).await;
        assert_eq!(publish_due(&*store).await, pair[1..]);
    }
}

/// A cancelled job makes way, at the head of its key and behind it.
pub async fn a_cancelled_job_makes_way(h: &impl StoreHarness) {
    let store = h.store();
    let lined = line_up_many(&*store, "a", 4).await;
    for id in [lined[1], lined[0]] {
        assert!(store.cancel(id, "not wanted", noon()).await.expect("cancels"), "it is deleted");
    }
    assert_eq!(publish_due(&*store).await, lined[2..3]);
    pass_on(&*store, lined[2]).await;
    assert_eq!(publish_due(&*store).await, lined[3..]);
}

/// A purge frees the keys of its queue, but for those of jobs that run; a job that it did not reach takes its key.
pub async fn a_purge_frees_keys(h: &impl StoreHarness) {
    let store = h.store();
    let (running, waiting) = (line_up_many(&*store, "a", 2).await, line_up_many(&*store, "b", 2).await);
    let missed = line_up_many(&*store, "c", 1).await;
    let elsewhere = line_up(&*store, &[keyed_in("letters", "a")]).await;
    assert_eq!(publish_due(&*store).await.len(), 4);
    assert_eq!(store.purge(QUEUE, noon() + seconds(1), &running[..1]).await.expect("purges"), 2);
    let next = [line_up_many(&*store, "a", 1).await, line_up_many(&*store, "b", 1).await].concat();
    assert_eq!(publish_due(&*store).await, next[1..], "one key is held by the job that runs");
    assert!(holds(&*store, "c", missed[0]).await && !holds(&*store, "b", waiting[0]).await);
    assert!(store.take_key("letters", "a", elsewhere[0], noon()).await.expect("answers"));
    pass_on(&*store, running[0]).await;
    assert_eq!(publish_due(&*store).await, next[..1]);
}

/// A job that goes to another queue leaves its key to the next one, and joins the jobs of its key there by its
/// position.
pub async fn a_job_changes_its_queue(h: &impl StoreHarness) {
    let store = h.store();
    let lined = line_up_many(&*store, "a", 3).await;
    let there = line_up(&*store, &[keyed_in("letters", "a"), keyed_in("letters", "a")]).await;
    for id in &lined[..2] {
        let claimed = store.claim(*id, noon(), noon() + seconds(30)).await.expect("claims").expect("there");
        let envelope = Envelope { queue: "letters".to_owned(), ..claimed.envelope.clone() };
        let moved = ScheduledJob { envelope, ..claimed };
        let late = ScheduledJob { claim: moved.claim ^ 2, ..moved.clone() };
        assert!(!store.change_line(late, noon()).await.expect("answers"), "not its claim");
        assert!(store.change_line(moved, noon()).await.expect("answers"));
    }
    let mut due = publish_due(&*store).await;
    due.sort_unstable();
    let mut expected = vec![lined[2], there[0]];
    expected.sort_unstable();
    assert_eq!(due, expected);
    for pair in [there[0], lined[0], lined[1], there[1]].windows(2) {
        pass_on(&*store, pair[0]).await;
        assert_eq!(publish_due(&*store).await, pair[1..]);
    }
}

/// Processes that line up, publish and pass on at the same moments leave no key held and no job behind, and keep the
/// order of each publisher.
pub async fn racing_processes_lose_no_key(h: &impl StoreHarness) {
    const JOBS: usize = 60;
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let stores = [h.store(), h.second().await];
    let publishers = (0..4).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for batch in 0..JOBS / 4 {
                let jobs: Vec<ScheduledJob> =
                    (0..4).map(|step| keyed_in(QUEUE, KEYS[(n + batch + step) % 3])).collect();
                mine.extend(jobs.iter().map(|job| job.envelope.clone()));
                line_up(&*store, &jobs).await;
            }
            mine
        })
    });
    let workers = (0..4).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move {
            let mut ended = Vec::new();
            let mut idle = 0;
            while idle < 200 {
                let some = publish_due(&*store).await;
                idle = if some.is_empty() { idle + 1 } else { 0 };
                for id in &some {
                    ended.push((std::time::Instant::now(), *id));
                    pass_on(&*store, *id).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            ended
        })
    });
    let (published, ended) = tokio::join!(join_all(publishers), join_all(workers));
    let mut ended: Vec<_> = ended.into_iter().flat_map(|some| some.expect("ends")).collect();
    ended.sort_unstable();
    let places: HashMap<JobId, usize> = ended.iter().enumerate().map(|(at, (_, id))| (*id, at)).collect();
    assert_eq!((ended.len(), places.len()), (4 * JOBS, 4 * JOBS), "each ended once");
    for jobs in published {
        let jobs: Vec<Envelope> = jobs.expect("ends");
        for key in KEYS {
            let of_key = jobs.iter().filter(|job| job.order_key.as_deref() == Some(key));
            let at: Vec<usize> = of_key.map(|job| places[&job.id]).collect();
            assert!(at.is_sorted(), "{key}: {at:?}");
        }
    }
    assert!(everything(&*stores[0]).await.is_empty());
}
