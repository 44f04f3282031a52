//! Cases of slots and starts per key. The clock is the store's, so they wait for what ends.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use base::Ambient;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::{StoreHarness, seconds};
use crate::{
    envelope::JobId,
    job_store::{
        GrantedStarts, JobStore, LIMIT_KEYS_MAX, LIMITS_LISTED_MAX, LeaseWant, LeasedSlots, LimitFilter,
        LimitInUse, PARKED_COUNTED_MAX, ParkedJob, StartsWant, UnusedStarts,
    },
};

const LIMIT: &str = "roads";
/// Longest wait for the end of what lasts for less than a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// A lease that lasts for as long as a case.
const LONG: Duration = Duration::from_mins(5);
/// A lease whose end a case awaits.
const SHORT: Duration = Duration::from_millis(300);

fn want(key: &str, slots: u32, max: u32) -> LeaseWant {
    LeaseWant { limit: LIMIT.to_owned(), key: key.to_owned(), slots, max }
}

/// Leases slots of one key, and returns slots held and free.
async fn lease(store: &dyn JobStore, holder: &str, want: LeaseWant, ttl: Duration) -> (u32, u32) {
    let answers = store.lease(holder, vec![want], ttl).await.expect("leases");
    assert_eq!(answers.len(), 1);
    (answers[0].slots, answers[0].free)
}

fn starts_want(starts: u32, max: u32, per: Duration) -> StartsWant {
    StartsWant { limit: LIMIT.to_owned(), key: "k".to_owned(), starts, max, per }
}

async fn starts(store: &dyn JobStore, starts: u32, max: u32, per: Duration) -> GrantedStarts {
    let answers = store.starts(vec![starts_want(starts, max, per)]).await.expect("grants");
    assert_eq!(answers.len(), 1);
    answers[0]
}

fn fresh() -> JobId {
    JobId::fresh(&Ambient::system())
}

fn parked(key: &str, job: JobId, comes_in: Duration) -> ParkedJob {
    ParkedJob { limit: LIMIT.to_owned(), key: key.to_owned(), job, comes_in }
}

async fn in_use(store: &dyn JobStore) -> Vec<LimitInUse> {
    let filter = LimitFilter { most: LIMITS_LISTED_MAX, ..LimitFilter::default() };
    store.limits_in_use(&filter).await.expect("lists")
}

/// Slots go to those who ask first; a lease is renewed, grows, shrinks and ends by the same call.
pub async fn slots_are_shared_by_holders(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let (store, second) = (&*store, &*second);
    assert_eq!(lease(store, "a", want("k", 3, 5), LONG).await, (3, 2));
    assert_eq!(lease(second, "b", want("k", 4, 5), LONG).await, (2, 0), "what is left");
    assert_eq!(lease(second, "c", want("k", 1, 5), LONG).await, (0, 0));
    assert_eq!(lease(second, "c", want("other \0 key", 1, 5), LONG).await, (1, 4), "another key");
    assert_eq!(lease(store, "a", want("k", 3, 5), LONG).await, (3, 0), "renewed");
    assert_eq!(lease(store, "a", want("k", 1, 5), LONG).await, (1, 2), "shrunk");
    assert_eq!(lease(second, "b", want("k", 9, 5), LONG).await, (4, 0), "grown");
    assert_eq!(lease(second, "b", want("k", 0, 5), LONG).await, (0, 4), "ended");
    assert_eq!(lease(store, "a", want("k", 5, 2), LONG).await, (2, 0), "held to its own numbers");
    let wants = vec![want("x", 1, 1), want("k", 1, 1), want("y", 2, 1)];
    let answers = second.lease("b", wants, LONG).await.expect("leases");
    let slots: Vec<_> = answers.iter().map(|LeasedSlots { slots, free, .. }| (*slots, *free)).collect();
    assert_eq!(slots, [(1, 0), (0, 0), (1, 0)], "in the order of the questions");
    assert!(store.lease("b", Vec::new(), LONG).await.expect("nothing is a batch too").is_empty());
}

/// However eight holders lease at the same time, they never hold more slots together than there are.
pub async fn racing_holders_never_exceed_the_limit(h: &impl StoreHarness) {
    const MAX: u32 = 5;
    let stores = [h.store(), h.second().await];
    let held = Arc::new(AtomicU32::new(0));
    let holders = (0..8_usize).map(|n| {
        let (store, held) = (Arc::clone(&stores[n % 2]), Arc::clone(&held));
        async move {
            let holder = format!("holder {n}");
            let mut mine = 0;
            for round in 0..24_usize {
                let wanted = u32::try_from((n * 7 + round * 3) % 5).unwrap_or(0);
                // What is given back is free from the call on, what is granted is held from the answer on.
                let kept = mine.min(wanted);
                held.fetch_sub(mine - kept, Ordering::SeqCst);
                let (slots, _) = lease(&*store, &holder, want("k", wanted, MAX), LONG).await;
                assert!((kept..=wanted).contains(&slots), "{slots} of {wanted} with {kept} held");
                let together = held.fetch_add(slots - kept, Ordering::SeqCst) + slots - kept;
                assert!(together <= MAX, "{together} slots held");
                mine = slots;
            }
        }
    });
    join_all(holders).await;
}

/// A lease that is not renewed ends; one that is renewed lasts.
pub async fn a_lease_ends_unless_it_is_renewed(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let began = Instant::now();
    assert_eq!(lease(&*store, "dead", want("k", 2, 3), SHORT).await.0, 2);
    assert_eq!(lease(&*store, "live", want("k", 1, 3), LONG).await.0, 1);
    loop {
        let (slots, _) = lease(&*second, "next", want("k", 3, 3), LONG).await;
        if slots == 2 {
            break;
        }
        assert!(slots == 0 && began.elapsed() < PATIENCE, "{slots} slots");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() >= SHORT, "no slot is given away before its lease has ended");
    assert_eq!(lease(&*store, "dead", want("k", 2, 3), LONG).await, (0, 0), "its slots are those of another");
    let page = in_use(&*store).await;
    assert_eq!((page[0].leased, page[0].holders), (3, 2), "{page:?}");
}

/// Whatever is asked for and returned, no window as long as the period has more starts than the limit.
pub async fn no_window_has_more_starts_than_the_limit(h: &impl StoreHarness) {
    const MAX: u32 = 10;
    const PER: Duration = Duration::from_millis(400);
    let stores = [h.store(), h.second().await];
    let (mut used, began) = (Vec::new(), Instant::now());
    for round in 0_u32.. {
        if began.elapsed() >= PER * 4 {
            break;
        }
        let store = &*stores[round as usize % 2];
        let sent = Instant::now();
        let block = starts(store, 1 + round % 4, MAX, PER).await;
        assert!(block.valid_for > Duration::ZERO && block.starts <= 1 + round % 4);
        if round % 3 == 0 && block.starts > 1 {
            // One start at once, and the rest returned.
            used.push((sent, Instant::now()));
            let (limit, key) = (LIMIT.to_owned(), "k".to_owned());
            let unused = UnusedStarts { limit, key, block: block.block, used: 1 };
            store.return_starts(vec![unused]).await.expect("returns");
        } else {
            // All of them as late as possible.
            let last = sent + block.valid_for;
            used.extend((0..block.starts).map(|_| (last, last)));
        }
        sleep(Duration::from_millis(15)).await;
    }
    // A start is at one point between the two: it counts in a window if both lie there.
    for (from, _) in &used {
        let inside = used.iter().filter(|(first, last)| first >= from && *last < *from + PER).count();
        assert!(inside <= MAX as usize, "{inside} starts in a window");
    }
    assert!(used.len() > MAX as usize, "starts become free again");
}

/// What is left of the starts is told, and a returned block makes room.
pub async fn returned_starts_are_granted_again(h: &impl StoreHarness) {
    let (store, per) = (h.store(), Duration::from_mins(10));
    let first = starts(&*store, 4, 5, per).await;
    assert_eq!((first.starts, first.free, first.valid_for), (4, 1, Duration::from_secs(1)));
    let second = starts(&*store, 4, 5, per).await;
    assert_eq!((second.starts, second.free), (1, 0));
    assert!(second.free_in > seconds(500) && second.free_in <= seconds(602), "{:?}", second.free_in);
    let unused = |block: &GrantedStarts, used| UnusedStarts {
        limit: LIMIT.to_owned(),
        key: "k".to_owned(),
        block: block.block,
        used,
    };
    store.return_starts(vec![unused(&first, 1), unused(&second, 0)]).await.expect("returns");
    store.return_starts(Vec::new()).await.expect("nothing is a batch too");
    let third = starts(&*store, 9, 5, per).await;
    assert_eq!((third.starts, third.free), (4, 0), "all but the one that was used");
}

/// Jobs are unparked in the order of parking, each once, and none whose snooze has ended.
pub async fn parked_jobs_leave_in_order(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let jobs: Vec<JobId> = (0..5).map(|_| fresh()).collect();
    for job in &jobs[..4] {
        store.park(vec![parked("k", *job, LONG)]).await.expect("parks");
        // The order is by the store's millisecond.
        sleep(Duration::from_millis(3)).await;
    }
    store
        .park(vec![parked("other", jobs[4], LONG), parked("k", fresh(), Duration::ZERO)])
        .await
        .expect("parks");
    store.park(vec![parked("k", jobs[0], LONG)]).await.expect("parks again, at the end");
    store.park(Vec::new()).await.expect("nothing is a batch too");
    assert!(store.lease("a", vec![want("k", 1, 1)], LONG).await.expect("leases")[0].parked);
    assert_eq!(second.unpark(LIMIT, "k", 2).await.expect("unparks"), jobs[1..3]);
    assert_eq!(store.unpark(LIMIT, "k", 9).await.expect("unparks"), [jobs[3], jobs[0]]);
    assert!(store.unpark(LIMIT, "k", 9).await.expect("unparks").is_empty());
    let answers = store.lease("a", vec![want("k", 1, 1), want("other", 1, 1)], LONG).await.expect("leases");
    assert_eq!((answers[0].parked, answers[1].parked), (false, true));
    assert!(
        store
            .starts(vec![StartsWant { key: "other".to_owned(), ..starts_want(0, 1, LONG) }])
            .await
            .expect("asks")[0]
            .parked
    );
}

/// What has ended expires, and nothing else does.
pub async fn ended_rows_of_limits_expire(h: &impl StoreHarness) {
    let store = h.store();
    lease(&*store, "dead", want("k", 1, 3), Duration::ZERO).await;
    lease(&*store, "live", want("k", 1, 3), LONG).await;
    starts(&*store, 1, 5, Duration::from_millis(1)).await;
    store.park(vec![parked("k", fresh(), Duration::ZERO), parked("k", fresh(), LONG)]).await.expect("parks");
    let (mut expired, began) = (0, Instant::now());
    while expired < 3 {
        assert!(began.elapsed() < PATIENCE, "{expired} rows expired");
        sleep(Duration::from_millis(20)).await;
        expired += store.expire_limits().await.expect("expires");
    }
    assert_eq!((expired, store.expire_limits().await.expect("expires")), (3, 0));
    let page = in_use(&*store).await;
    assert_eq!((page.len(), page[0].leased, page[0].parked), (1, 1, 1), "{page:?}");
}

/// Keys in use are listed by name and key, in pages, with all that is held.
pub async fn limits_in_use_are_listed(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    assert!(in_use(&*store).await.is_empty());
    lease(&*store, "a", want("b", 2, 9), LONG).await;
    lease(&*store, "b", want("b", 3, 9), LONG).await;
    lease(&*store, "b", want("B", 1, 9), LONG).await;
    starts(&*store, 4, 9, LONG).await;
    let jobs = vec![parked("b", fresh(), LONG), parked("c", fresh(), LONG)];
    store.park(jobs).await.expect("parks");
    let other = LeaseWant { limit: "rails".to_owned(), ..want("b", 1, 9) };
    store.lease("a", vec![other], LONG).await.expect("leases");

    let page = in_use(&*second).await;
    let keys: Vec<_> = page.iter().map(|used| (used.limit.as_str(), used.key.as_str())).collect();
    assert_eq!(keys, [("rails", "b"), (LIMIT, "B"), (LIMIT, "b"), (LIMIT, "c"), (LIMIT, "k")]);
    let by_key: HashMap<_, _> = page[1..].iter().map(|used| (used.key.as_str(), used)).collect();
    let numbers = |key| {
        let used: &LimitInUse = by_key[key];
        (used.leased, used.holders, used.starts, used.parked, used.oldest_parked_at.is_some())
    };
    assert_eq!(numbers("b"), (5, 2, 0, 1, true));
    assert_eq!((numbers("c"), numbers("k")), ((0, 0, 0, 1, true), (0, 0, 4, 0, false)));

    let only = LimitFilter { limit: Some(LIMIT.to_owned()), most: 2, ..LimitFilter::default() };
    assert_eq!(second.limits_in_use(&only).await.expect("lists"), page[1..3]);
    for (name, key, expected) in [
        ("rails", "b", &page[1..3]),
        (LIMIT, "", &page[1..3]),
        (LIMIT, "B", &page[2..4]),
        (LIMIT, "b", &page[3..]),
        (LIMIT, "k", &page[5..]),
        ("\u{ff}", "", &page[5..]),
    ] {
        let after = Some((name.to_owned(), key.to_owned()));
        let listed = second.limits_in_use(&LimitFilter { after, ..only.clone() }).await.expect("lists");
        assert_eq!(listed, expected, "after {name} {key:?}");
    }
    let mut listed: Vec<LimitInUse> = Vec::new();
    for used in &page {
        let after = listed.last().map(|last| (last.limit.clone(), last.key.clone()));
        let next = LimitFilter { after, most: 1, ..LimitFilter::default() };
        listed.extend(second.limits_in_use(&next).await.expect("lists"));
        assert_eq!(listed.last(), Some(used), "pages of one follow each other");
    }
    assert_eq!(listed, page);
}

/// Of a key with very many parked jobs those that were parked first are counted.
pub async fn parked_jobs_are_counted_up_to_a_limit(h: &impl StoreHarness) {
    let store = h.store();
    let jobs: Vec<_> = (0..PARKED_COUNTED_MAX + 5).map(|_| parked("k", fresh(), LONG)).collect();
    for jobs in jobs.chunks(LIMIT_KEYS_MAX) {
        store.park(jobs.to_vec()).await.expect("parks");
    }
    store.park(vec![parked("l", fresh(), LONG)]).await.expect("parks");
    let counts: Vec<u64> = in_use(&*store).await.iter().map(|used| used.parked).collect();
    assert_eq!(counts, [u64::from(PARKED_COUNTED_MAX), 1]);
}
