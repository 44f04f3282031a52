//! Cases of claims on scheduled jobs: one process at a time, and another one when the first never finishes.

use std::collections::HashSet;

use base::Timestamp;
use futures::future::join_all;

use super::{QUEUE, StoreHarness, everything, ids, job, noon, schedule, seconds};
use crate::job_store::ScheduledJob;

/// The job due for longest is claimed first, up to the limit; jobs that are not due stay.
pub async fn due_jobs_come_oldest_first(h: &impl StoreHarness) {
    let store = h.store();
    let jobs = [30, 10, 20, 0].map(|ago| ScheduledJob { due_at: noon() - seconds(ago), ..job() });
    let later = ScheduledJob { due_at: noon() + seconds(1), ..job() };
    let all = schedule(&*store, &jobs).await;
    let later = schedule(&*store, &[later]).await[0];
    let first = store.claim_due(noon(), noon() + seconds(30), 2).await.expect("claims");
    assert_eq!(ids(&first), [all[0], all[2]]);
    let rest = store.claim_due(noon(), noon() + seconds(30), 100).await.expect("claims");
    assert_eq!(ids(&rest), [all[1], all[3]]);
    let now = noon() + seconds(1);
    let due = store.claim_due(now, now + seconds(30), 100).await.expect("claims");
    assert_eq!(ids(&due), [later]);
}

/// While a claim is in force no other process gets the job; after its expiry any process does, under another claim.
pub async fn a_claim_holds_until_its_time(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    schedule(&*store, &[job()]).await;
    let until = noon() + seconds(30);
    let claimed = store.claim_due(noon(), until, 10).await.expect("claims");
    assert_eq!(claimed.len(), 1, "one job was due");
    let (claimed, id) = (&claimed[0], claimed[0].envelope.id);
    let just_before = until - std::time::Duration::from_millis(1);
    assert!(second.claim_due(just_before, until, 10).await.expect("claims").is_empty());
    assert!(second.claim(id, just_before, until).await.expect("claims").is_none());
    let again = second.claim_due(until, until + seconds(30), 10).await.expect("claims");
    assert_eq!(ids(&again), [id]);
    assert_ne!(again[0].claim, claimed.claim, "claims have names of their own");
}

/// A job is not deleted under an expired claim, nor under a claim from before it was scheduled again.
pub async fn publishing_deletes_under_its_claim_alone(h: &impl StoreHarness) {
    let store = h.store();
    let id = schedule(&*store, &[job()]).await[0];
    let until = noon() + seconds(30);
    let old = store.claim(id, noon(), until).await.expect("claims").expect("there");
    let new = store.claim(id, until, until + seconds(30)).await.expect("claims").expect("there");
    store.unschedule(&[(id, old.claim)]).await.expect("answers");
    assert_eq!(everything(&*store).await, [id]);
    store.schedule(vec![new.clone()]).await.expect("schedules again");
    store.unschedule(&[(id, new.claim)]).await.expect("answers");
    assert_eq!(everything(&*store).await, [id]);
    let last =
        store.claim(id, noon(), until).await.expect("claims").expect("scheduling again voided the claim");
    store.unschedule(&[(id, last.claim)]).await.expect("deletes");
    assert!(everything(&*store).await.is_empty());
}

/// A job can be claimed long before its time; a claim on an unknown job returns none.
pub async fn one_job_can_be_claimed_before_its_time(h: &impl StoreHarness) {
    let store = h.store();
    let jobs = [(); 2].map(|()| ScheduledJob { due_at: noon() + seconds(3600), ..job() });
    let all = schedule(&*store, &jobs).await;
    let claimed = store.claim(all[0], noon(), noon() + seconds(30)).await.expect("claims").expect("there");
    assert_eq!((claimed.envelope.id, claimed.due_at), (all[0], noon() + seconds(3600)));
    let unknown = job().envelope.id;
    assert!(store.claim(unknown, noon(), noon() + seconds(30)).await.expect("claims").is_none());
}

/// Many claimants in two processes share a thousand jobs: each job goes to one, none is left.
pub async fn processes_never_share_a_claim(h: &impl StoreHarness) {
    const JOBS: usize = 1000;
    let stores = [h.store(), h.second().await];
    let jobs: Vec<ScheduledJob> = (0..JOBS).map(|_| job()).collect();
    schedule(&*stores[0], &jobs).await;
    let claimants = (0..8).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let some = store.claim_due(noon(), noon() + seconds(30), 17).await.expect("claims");
                if some.is_empty() {
                    return mine;
                }
                let claims: Vec<_> = some.iter().map(|job| (job.envelope.id, job.claim)).collect();
                // Half of them publish at once, so rows vanish while others read.
                if n % 4 < 2 {
                    store.unschedule(&claims).await.expect("deletes");
                }
                mine.extend(ids(&some));
            }
        })
    });
    let shares: Vec<_> = join_all(claimants).await.into_iter().map(|share| share.expect("ends")).collect();
    let claimed: Vec<_> = shares.concat();
    let distinct: HashSet<_> = claimed.iter().collect();
    // A claim finds nothing while others hold the rows, which ends a claimant early; the remaining jobs stay due.
    let left = stores[0].claim_due(noon(), noon() + seconds(30), 1000).await.expect("claims");
    assert_eq!(distinct.len(), claimed.len(), "a job was claimed twice");
    assert_eq!(claimed.len() + left.len(), JOBS);
}

/// Of a cancel and a claim at the same time, one gets the job.
pub async fn a_job_is_cancelled_or_claimed_but_never_both(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let jobs: Vec<ScheduledJob> = (0..200).map(|_| job()).collect();
    let all = schedule(&*store, &jobs).await;
    let cancelling = all.clone();
    let cancels = tokio::spawn(async move {
        let mut removed = HashSet::new();
        for id in cancelling {
            if second.cancel(id, "changed our mind", noon()).await.expect("cancels") {
                removed.insert(id);
            }
        }
        removed
    });
    let mut claimed = HashSet::new();
    while !cancels.is_finished() {
        claimed.extend(ids(&store.claim_due(noon(), noon() + seconds(30), 7).await.expect("claims")));
    }
    let removed = cancels.await.expect("ends");
    assert!(claimed.is_disjoint(&removed), "a cancelled job was handed out");
    claimed.extend(ids(&store.claim_due(noon(), noon() + seconds(30), 1000).await.expect("claims")));
    assert_eq!(claimed.len() + removed.len(), all.len());
    let requested = store.control().await.expect("reads").cancels;
    assert!(all.iter().all(|id| removed.contains(id) != requested.contains_key(id)));
}

/// A row that cannot be read is set aside: it takes the place of no other job, and stays for an operator.
pub async fn an_unreadable_job_is_set_aside(h: &impl StoreHarness) {
    let store = h.store();
    schedule(&*store, &[ScheduledJob { due_at: noon() - seconds(10), ..job() }]).await;
    h.spoil_scheduled().await;
    let good = schedule(&*store, &[job()]).await;
    let claim = async |at: Timestamp| ids(&store.claim_due(at, at + seconds(30), 1).await.expect("claims"));
    assert!(claim(noon()).await.is_empty());
    assert_eq!(claim(noon() + seconds(40)).await, good);
    assert!(claim(noon() + seconds(50)).await.is_empty());
    assert_eq!(store.scheduled_count(QUEUE, u64::MAX).await.expect("counts"), 2);
}
