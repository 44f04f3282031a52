//! Cases of dead jobs: storing, listing, claims, dropping.

use base::Timestamp;
use serde_json::value::to_raw_value;

use super::{QUEUE, StoreHarness, asks_for, job_in, noon, reserve, seconds};
use crate::{
    engine::{DeadFilter, DeadInfo, DeadReason, HolderState, JobFilter, KeyHolder},
    envelope::{Envelope, JobId, PAYLOAD_BYTES_MAX},
    job_store::{DeadJob, DeadMessage, JobStore, KeyRequest, Reservation},
};

/// A job that died at this time.
fn dead(died_at: Timestamp) -> DeadJob {
    DeadJob {
        envelope: job_in(QUEUE).envelope,
        crashes: 0,
        last_error: Some("timeout".to_owned()),
        info: DeadInfo { reason: DeadReason::Exhausted, first_failed_at: noon(), died_at },
        message: None,
        claim: 0,
    }
}

/// Stores the jobs; returns their ids in order.
async fn add(store: &dyn JobStore, jobs: &[DeadJob]) -> Vec<JobId> {
    store.add_dead(jobs.to_vec()).await.expect("adds");
    let mut ids = ids(jobs);
    ids.sort_unstable();
    ids
}

fn ids(jobs: &[DeadJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.envelope.id).collect()
}

/// All pages of a listing.
async fn pages(store: &dyn JobStore, mut filter: JobFilter) -> Vec<Vec<JobId>> {
    let mut pages = Vec::new();
    loop {
        let page = store.dead_jobs(&filter).await.expect("lists");
        filter.after = page.jobs.last().map(|job| job.envelope.id);
        pages.push(ids(&page.jobs));
        if !page.more {
            return pages;
        }
    }
}

/// Every field reads back, the message of an unreadable job byte for byte, but not in listings.
pub async fn a_dead_job_reads_back_whole(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let odd = "a\0b\u{1}'\\\"".to_owned();
    let envelope = Envelope { subject: Some(odd.clone()), ..job_in(QUEUE).envelope };
    let message =
        DeadMessage { properties: r#"{"content_type":"\u0000"}"#.to_owned(), body: vec![0xff, 0, 1] };
    let whole = DeadJob {
        envelope,
        crashes: 21,
        last_error: Some(odd),
        info: DeadInfo {
            reason: DeadReason::Crashed,
            first_failed_at: noon() - seconds(60),
            died_at: noon(),
        },
        message: Some(message),
        claim: 0,
    };
    let id = add(&*store, std::slice::from_ref(&whole)).await[0];
    let found = second.find_dead(id).await.expect("finds").expect("there");
    let json = |job: &DeadJob| serde_json::to_string(&job.envelope).expect("JSON");
    assert_eq!((json(&found), found.crashes, &found.message), (json(&whole), 21, &whole.message));
    assert!(found.last_error.is_some_and(|error| error.starts_with('a')));
    let (info, wanted) = (&found.info, &whole.info);
    assert_eq!(
        (info.reason, info.first_failed_at, info.died_at),
        (wanted.reason, wanted.first_failed_at, wanted.died_at)
    );
    let listed = second.dead_jobs(&JobFilter { limit: 10, ..JobFilter::default() }).await.expect("lists");
    assert_eq!((ids(&listed.jobs), listed.more, &listed.jobs[0].message), (vec![id], false, &None));
    assert_eq!(store.dead_count(QUEUE, u64::MAX).await.expect("counts"), 1);
    assert_eq!(store.dead_count("letters", u64::MAX).await.expect("counts"), 0);
    assert!(store.find_dead(dead(noon()).envelope.id).await.expect("finds").is_none());
    store.add_dead(Vec::new()).await.expect("adds nothing");
}

/// Pages go by id, are complete, and filter by queue and kind.
pub async fn dead_jobs_are_listed_in_pages(h: &impl StoreHarness) {
    let store = h.store();
    let mut jobs: Vec<DeadJob> = (0..200).map(|_| dead(noon())).collect();
    "letters".clone_into(&mut jobs[150].envelope.queue);
    "weigh_parcel".clone_into(&mut jobs[151].envelope.kind);
    let all = add(&*store, &jobs).await;
    let filter = JobFilter { limit: 70, ..JobFilter::default() };
    let listed = pages(&*store, filter.clone()).await;
    assert_eq!(listed.iter().map(Vec::len).collect::<Vec<_>>(), [70, 70, 60]);
    assert_eq!(listed.concat(), all);
    let letters = JobFilter { queue: Some("letters".to_owned()), ..filter.clone() };
    assert_eq!(pages(&*store, letters).await.concat(), [jobs[150].envelope.id]);
    let weighed = JobFilter { kind: Some("weigh_parcel".to_owned()), ..filter.clone() };
    assert_eq!(pages(&*store, weighed.clone()).await.concat(), [jobs[151].envelope.id]);
    let both = |queue: &str| JobFilter { queue: Some(queue.to_owned()), ..weighed.clone() };
    assert_eq!(pages(&*store, both(QUEUE)).await.concat(), [jobs[151].envelope.id]);
    assert!(pages(&*store, both("letters")).await.concat().is_empty());
    let kind =
        JobFilter { queue: Some(QUEUE.to_owned()), kind: Some(jobs[0].envelope.kind.clone()), ..filter };
    let rest: Vec<JobId> =
        all.into_iter().filter(|id| ![150, 151].map(|place| jobs[place].envelope.id).contains(id)).collect();
    assert_eq!(pages(&*store, kind).await.concat(), rest);
    for (most, counted) in [(0, 0), (100, 100), (1000, 199)] {
        assert_eq!(store.dead_count(QUEUE, most).await.expect("counts"), counted, "up to {most}");
    }
}

/// A page of the largest jobs ends before its limit, so that no listing needs much memory.
pub async fn large_jobs_make_short_pages(h: &impl StoreHarness) {
    let store = h.store();
    let payload = to_raw_value(&"x".repeat(PAYLOAD_BYTES_MAX - 2)).expect("a payload");
    let large = || {
        let job = dead(noon());
        DeadJob { envelope: Envelope { payload: payload.clone(), ..job.envelope }, ..job }
    };
    let mut all = Vec::new();
    for _ in 0..10 {
        all.extend(add(&*store, &std::iter::repeat_with(large).take(40).collect::<Vec<_>>()).await);
    }
    all.sort_unstable();
    let listed = pages(&*store, JobFilter { limit: 1000, ..JobFilter::default() }).await;
    let most = listed.iter().map(Vec::len).max().unwrap_or(0);
    assert!(most * PAYLOAD_BYTES_MAX < 32 * 1024 * 1024, "{most} jobs in a page");
    assert_eq!(listed.concat(), all);
}

/// Ids are listed by all conditions of a filter.
pub async fn dead_ids_follow_their_filter(h: &impl StoreHarness) {
    let store = h.store();
    let mut jobs: Vec<DeadJob> = (0..4).map(|n| dead(noon() + seconds(n))).collect();
    jobs[1].last_error = Some("refused at 5%".to_owned());
    jobs[2].info.reason = DeadReason::UnknownKind;
    jobs[3].last_error = None;
    add(&*store, &jobs).await;
    let all = DeadFilter { limit: 10, ..DeadFilter::default() };
    let wanted = [
        (all.clone(), vec![0, 1, 2, 3]),
        (DeadFilter { error_contains: Some("5%".to_owned()), ..all.clone() }, vec![1]),
        (DeadFilter { reason: Some(DeadReason::UnknownKind), ..all.clone() }, vec![2]),
        (DeadFilter { since: Some(noon() + seconds(2)), ..all.clone() }, vec![2, 3]),
        (DeadFilter { died_before: Some(noon() + seconds(2)), ..all.clone() }, vec![0, 1]),
        (DeadFilter { queue: Some("letters".to_owned()), ..all.clone() }, vec![]),
    ];
    for (filter, places) in wanted {
        let mut wanted: Vec<JobId> = places.into_iter().map(|place: usize| jobs[place].envelope.id).collect();
        wanted.sort_unstable();
        assert_eq!(store.dead_ids(&filter).await.expect("lists"), wanted, "{filter:?}");
    }
    let first = store.dead_ids(&DeadFilter { limit: 3, ..all.clone() }).await.expect("lists");
    let rest = store.dead_ids(&DeadFilter { after: first.last().copied(), ..all }).await.expect("lists");
    assert_eq!((first.len(), rest.len()), (3, 1));
}

/// A job that dies again while it is published replaces the row: deleting it under the old claim has no effect.
pub async fn a_job_that_dies_again_ends_the_claim(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let job = dead(noon());
    let id = add(&*store, std::slice::from_ref(&job)).await[0];
    let claimed = store.claim_dead(&[id], noon(), noon() + seconds(30)).await.expect("claims");
    assert_eq!(ids(&claimed), [id]);
    let again = DeadJob { last_error: Some("again".to_owned()), ..job };
    add(&*second, &[again]).await;
    store.remove_dead(&[(id, claimed[0].claim)]).await.expect("removes");
    let found = second.find_dead(id).await.expect("finds").expect("there");
    assert_eq!(found.last_error.as_deref(), Some("again"));
    let claimed = second.claim_dead(&[id], noon(), noon() + seconds(30)).await.expect("claims");
    second.remove_dead(&[(id, claimed[0].claim)]).await.expect("removes");
    assert!(store.find_dead(id).await.expect("finds").is_none());
}

/// A claim holds against other processes until its time.
pub async fn a_claim_on_a_dead_job_ends(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let all = add(&*store, &[dead(noon()), dead(noon())]).await;
    let until = noon() + seconds(30);
    assert_eq!(ids(&store.claim_dead(&all[..1], noon(), until).await.expect("claims")), all[..1]);
    assert_eq!(ids(&second.claim_dead(&all, noon(), until).await.expect("claims")), all[1..]);
    assert_eq!(ids(&second.claim_dead(&all, until, until).await.expect("claims")), all);
}

/// The key of a dead job is free.
pub async fn a_dead_job_frees_its_unique_key(h: &impl StoreHarness) {
    let store = h.store();
    let (job, other) = (dead(noon()), dead(noon()).envelope.id);
    let key = |id| vec![asks_for("a", QUEUE, id)];
    assert_eq!(reserve(&*store, key(job.envelope.id), noon()).await, [None]);
    assert_eq!(reserve(&*store, key(other), noon()).await, [Some(job.envelope.id)]);
    add(&*store, &[job]).await;
    assert_eq!(reserve(&*store, key(other), noon()).await, [None]);
}

/// A kept key stays with its dead job until that is dropped, and the rest of a period after that.
pub async fn a_kept_key_stays_with_a_dead_job(h: &impl StoreHarness) {
    let (store, end) = (h.store(), noon() + seconds(600));
    let (job, other) = (dead(noon()), dead(noon()).envelope.id);
    let id = job.envelope.id;
    let kept = |key, period_end| KeyRequest { kept: true, period_end, ..asks_for(key, QUEUE, id) };
    assert_eq!(reserve(&*store, vec![kept("a", None), kept("b", Some(end))], noon()).await, [None; 2]);
    let others = async |at| {
        let keys = vec![asks_for("a", QUEUE, other), asks_for("b", QUEUE, other)];
        store.reserve_until(keys, at, Some(at)).await.expect("reserves")
    };
    let held = |state| Reservation::Held(KeyHolder { id, state });
    add(&*store, std::slice::from_ref(&job)).await;
    assert_eq!(others(end).await, [held(HolderState::Dead); 2], "the period is over, the job is there");
    let own = store.reserve_until(vec![kept("a", None)], noon(), Some(end)).await.expect("reserves");
    assert_eq!(own, [Reservation::Ended]);
    store.purge(QUEUE, noon() + seconds(1), &[]).await.expect("purges");
    assert_eq!(others(noon()).await, [held(HolderState::Dead); 2], "a purge deletes no dead job");
    let all = DeadFilter { limit: 10, ..DeadFilter::default() };
    assert_eq!(store.drop_dead(&all).await.expect("drops"), 1);
    assert_eq!(others(noon()).await, [Reservation::Reserved, held(HolderState::Period)]);
    assert_eq!(others(end).await, [Reservation::Reserved; 2]);
}

/// Dropping deletes up to its limit, in the order of death; a dry run deletes none.
pub async fn those_that_died_first_are_dropped_first(h: &impl StoreHarness) {
    let store = h.store();
    let jobs: Vec<DeadJob> = [3, 1, 2, 0].map(|n| dead(noon() + seconds(n))).into();
    add(&*store, &jobs).await;
    let old = DeadFilter {
        died_before: Some(noon() + seconds(3)),
        limit: u32::MAX,
        dry_run: true,
        ..DeadFilter::default()
    };
    assert_eq!(store.drop_dead(&old).await.expect("counts"), 3);
    let two = DeadFilter { limit: 2, dry_run: false, ..old.clone() };
    assert_eq!(store.drop_dead(&two).await.expect("drops"), 2);
    for (place, is_left) in [true, false, true, false].into_iter().enumerate() {
        let found = store.find_dead(jobs[place].envelope.id).await.expect("finds");
        assert_eq!(found.is_some(), is_left, "{place}");
    }
    assert_eq!(store.drop_dead(&DeadFilter { dry_run: false, ..old }).await.expect("drops"), 1);
    assert_eq!(store.dead_count(QUEUE, u64::MAX).await.expect("counts"), 1);
}
