//! Cases of unique keys: one holder each, also under concurrent reservations.

use std::sync::Arc;

use base::Timestamp;
use futures::future::join_all;

use super::{QUEUE, StoreHarness, asks_for, holders, job, noon, seconds};
use crate::{
    engine::{HolderState, KeyHolder},
    envelope::JobId,
    job_store::{JobStore, KeyRequest, Reservation},
};

fn asks(key: &str, id: JobId) -> KeyRequest {
    asks_for(key, QUEUE, id)
}

async fn reserve(store: &dyn JobStore, keys: Vec<KeyRequest>) -> Vec<Option<JobId>> {
    super::reserve(store, keys, noon()).await
}

/// The first job holds the key, also when it reserves again; others learn the holder; a released key is free.
pub async fn a_key_has_one_holder(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let (first, other) = (job().envelope.id, job().envelope.id);
    assert_eq!(reserve(&*store, vec![asks("a", first)]).await, [None]);
    assert_eq!(reserve(&*second, vec![asks("b", other), asks("a", other)]).await, [None, Some(first)]);
    assert_eq!(reserve(&*second, vec![asks("a", first)]).await, [None]);
    store.release(&[first]).await.expect("releases");
    assert_eq!(reserve(&*second, vec![asks("a", other)]).await, [None]);
    assert_eq!(reserve(&*store, vec![asks("a", first), asks("b", first)]).await, [Some(other); 2]);
}

/// Within one call, too, the first job gets the key.
pub async fn a_batch_may_name_a_key_twice(h: &impl StoreHarness) {
    let store = h.store();
    let [a, b] = [job().envelope.id, job().envelope.id];
    let batch = vec![asks("k", a), asks("k", b), asks("k", a), asks("K", b)];
    assert_eq!(reserve(&*store, batch).await, [None, Some(a), None, None]);
}

/// Twenty callers reserve the same forty keys at once, in two processes and opposite orders: all agree on each holder.
pub async fn racing_reservations_have_one_winner(h: &impl StoreHarness) {
    let stores = [h.store(), h.second().await];
    let askers = (0..20).map(|n: usize| {
        let store = Arc::clone(&stores[n % 2]);
        tokio::spawn(async move {
            let id = job().envelope.id;
            let mut keys: Vec<_> = (0..40).map(|key| asks(&format!("key {key}"), id)).collect();
            if n % 4 < 2 {
                keys.reverse();
            }
            let holders = reserve(&*store, keys.clone()).await;
            let held = |(asked, other): (KeyRequest, Option<JobId>)| (asked.key, other.unwrap_or(id));
            keys.into_iter().zip(holders).map(held).collect::<std::collections::BTreeMap<_, _>>()
        })
    });
    let views: Vec<_> = join_all(askers).await.into_iter().map(|view| view.expect("ends")).collect();
    assert!(views.iter().all(|view| *view == views[0]), "they disagree on who holds what");
}

/// While keys are reserved and released concurrently, every call succeeds, and none returns the calling job as holder.
pub async fn processes_that_reserve_and_release_never_fail(h: &impl StoreHarness) {
    let stores = [h.store(), h.second().await];
    let workers = (0..8).map(|n: usize| {
        let store = Arc::clone(&stores[n % 2]);
        tokio::spawn(async move {
            let mut won = 0;
            for round in 0..25 {
                let id = job().envelope.id;
                let keys = (0..4).map(|k| asks(&format!("key {}", (k * (n + 1) + round) % 5), id)).collect();
                let holders = reserve(&*store, keys).await;
                assert!(holders.iter().all(|&holder| holder != Some(id)));
                won += holders.iter().filter(|holder| holder.is_none()).count();
                store.release(&[id]).await.expect("releases");
            }
            won
        })
    });
    let won: usize = join_all(workers).await.into_iter().map(|worker| worker.expect("ends")).sum();
    assert!(won > 0);
    let last = job().envelope.id;
    let all = (0..5).map(|key| asks(&format!("key {key}"), last)).collect();
    assert_eq!(reserve(&*stores[0], all).await, [None; 5], "all were released");
    stores[0].release(&[last]).await.expect("releases");
}

/// Reserves one key for a job that is to be published within a minute.
async fn asks_at(store: &dyn JobStore, id: JobId, at: Timestamp) -> Option<JobId> {
    let until = Some(at + seconds(60));
    holders(&store.reserve_until(vec![asks("k", id)], at, until).await.expect("reserves"))[0]
}

/// A reservation whose job is never published ends at its time, for every process, and leaves no row.
pub async fn a_reservation_without_a_job_ends(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let [first, other] = [job().envelope.id, job().envelope.id];
    assert_eq!(asks_at(&*store, first, noon()).await, None);
    assert_eq!(asks_at(&*second, other, noon() + seconds(59)).await, Some(first));
    assert_eq!(asks_at(&*second, other, noon() + seconds(60)).await, None);
    assert_eq!(asks_at(&*store, first, noon() + seconds(61)).await, Some(other));
    // A late confirm by the first job changes nothing.
    store.confirm(&[first]).await.expect("confirms");
    assert_eq!(asks_at(&*store, first, noon() + seconds(62)).await, Some(other));
    store.expire_keys(noon() + seconds(119)).await.expect("expires");
    assert_eq!(asks_at(&*store, first, noon() + seconds(119)).await, Some(other), "not yet");
    store.expire_keys(noon() + seconds(120)).await.expect("expires");
    // At an earlier time, to tell the deletion from the end.
    assert_eq!(asks_at(&*store, first, noon() + seconds(100)).await, None);
}

/// A confirmed reservation lasts until it is released.
pub async fn a_confirmed_reservation_lasts(h: &impl StoreHarness) {
    let store = h.store();
    let [first, other] = [job().envelope.id, job().envelope.id];
    assert_eq!(asks_at(&*store, first, noon()).await, None);
    store.confirm(&[first]).await.expect("confirms");
    // Publishing again under the same id does not make it end.
    assert_eq!(asks_at(&*store, first, noon()).await, None);
    store.withdraw(&[first], noon()).await.expect("withdraws");
    store.expire_keys(noon() + seconds(1000)).await.expect("expires");
    assert_eq!(asks_at(&*store, other, noon() + seconds(1000)).await, Some(first));
    store.release(&[first]).await.expect("releases");
    assert_eq!(asks_at(&*store, other, noon() + seconds(1000)).await, None);
}

/// A job that is published again under its id has the whole time again.
pub async fn reserving_again_renews(h: &impl StoreHarness) {
    let store = h.store();
    let [first, other] = [job().envelope.id, job().envelope.id];
    assert_eq!(asks_at(&*store, first, noon()).await, None);
    assert_eq!(asks_at(&*store, first, noon() + seconds(50)).await, None);
    assert_eq!(asks_at(&*store, other, noon() + seconds(100)).await, Some(first));
    assert_eq!(asks_at(&*store, first, noon() + seconds(200)).await, None, "ended, and still its own");
    assert_eq!(asks_at(&*store, other, noon() + seconds(259)).await, Some(first));
    // For a job that is published already, it is a confirm.
    assert_eq!(reserve(&*store, vec![asks("k", first)]).await, [None]);
    assert_eq!(asks_at(&*store, other, noon() + seconds(1000)).await, Some(first));
}

/// A call that could not publish withdraws its own reservation, not one that an earlier call for the same job made,
/// which may have published it.
pub async fn only_a_reservation_of_the_same_call_is_withdrawn(h: &impl StoreHarness) {
    let store = h.store();
    let [first, other] = [job().envelope.id, job().envelope.id];
    assert_eq!(asks_at(&*store, first, noon()).await, None);
    assert_eq!(asks_at(&*store, first, noon() + seconds(1)).await, None);
    store.withdraw(&[first], noon() + seconds(1)).await.expect("withdraws");
    assert_eq!(asks_at(&*store, other, noon() + seconds(2)).await, Some(first));
    store.withdraw(&[first, other], noon()).await.expect("withdraws");
    assert_eq!(asks_at(&*store, other, noon() + seconds(2)).await, None);
}

/// A request for a key that is held until this time at least.
fn asks_for_period(id: JobId, period_end: Timestamp) -> KeyRequest {
    KeyRequest { period_end: Some(period_end), ..asks("k", id) }
}

/// Answers of a key to a job that is to be published.
async fn publishes(store: &dyn JobStore, request: KeyRequest, at: Timestamp) -> Reservation {
    store.reserve_until(vec![request], at, Some(at + seconds(60))).await.expect("reserves")[0]
}

/// A released key is held until the end of its period, also against its own job; a late confirm does not change that.
/// A job that exists takes it back.
pub async fn a_released_key_lasts_for_its_period(h: &impl StoreHarness) {
    let (store, end) = (h.store(), noon() + seconds(600));
    let [first, other] = [job().envelope.id, job().envelope.id];
    let held = Reservation::Held(KeyHolder { id: first, state: HolderState::Period });
    assert_eq!(publishes(&*store, asks_for_period(first, end), noon()).await, Reservation::Reserved);
    store.release(&[first]).await.expect("releases");
    store.confirm(&[first]).await.expect("confirms");
    store.withdraw(&[first], noon()).await.expect("withdraws");
    assert_eq!(publishes(&*store, asks("k", other), end - seconds(1)).await, held);
    let again = publishes(&*store, asks_for_period(first, end), end - seconds(1)).await;
    assert_eq!(again, Reservation::Ended);
    store.expire_keys(end - seconds(1)).await.expect("expires");
    assert_eq!(publishes(&*store, asks("k", other), end - seconds(1)).await, held, "not yet");
    assert_eq!(reserve(&*store, vec![asks_for_period(first, end)]).await, [None], "a redrive");
    store.expire_keys(end + seconds(1)).await.expect("expires");
    assert_eq!(reserve(&*store, vec![asks("k", other)]).await, [Some(first)], "while it runs again");
    store.release(&[first]).await.expect("releases");
    assert_eq!(store.expire_keys(end).await.expect("expires"), 1);
    assert_eq!(store.expire_keys(end).await.expect("expires"), 0);
    assert_eq!(publishes(&*store, asks("k", other), noon()).await, Reservation::Reserved);
}

/// A reservation that is never confirmed ends as without a period: its job was never published.
pub async fn a_reservation_without_a_job_has_no_period(h: &impl StoreHarness) {
    let (store, end) = (h.store(), noon() + seconds(600));
    let [first, other] = [job().envelope.id, job().envelope.id];
    assert_eq!(publishes(&*store, asks_for_period(first, end), noon()).await, Reservation::Reserved);
    let later = noon() + seconds(60);
    assert_eq!(publishes(&*store, asks("k", other), later).await, Reservation::Reserved);
}

/// A purge leaves the rest of a period.
pub async fn a_purge_leaves_periods(h: &impl StoreHarness) {
    let (store, end) = (h.store(), noon() + seconds(600));
    let [first, other] = [job().envelope.id, job().envelope.id];
    assert_eq!(reserve(&*store, vec![asks_for_period(first, end), asks("l", first)]).await, [None; 2]);
    store.purge(QUEUE, noon() + seconds(1), &[]).await.expect("purges");
    let held = Reservation::Held(KeyHolder { id: first, state: HolderState::Period });
    assert_eq!(publishes(&*store, asks("k", other), end - seconds(1)).await, held);
    assert_eq!(publishes(&*store, asks("l", other), noon()).await, Reservation::Reserved);
    assert_eq!(publishes(&*store, asks("k", other), end).await, Reservation::Reserved);
}
