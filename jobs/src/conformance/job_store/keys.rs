//! Cases of unique keys: one holder each, also under concurrent reservations.

use std::sync::Arc;

use futures::future::join_all;

use super::{QUEUE, StoreHarness, job, noon};
use crate::{envelope::JobId, job_store::JobStore};

fn asks(key: &str, id: JobId) -> (String, String, JobId) {
    (key.to_owned(), QUEUE.to_owned(), id)
}

async fn reserve(store: &dyn JobStore, keys: Vec<(String, String, JobId)>) -> Vec<Option<JobId>> {
    let (count, answers) = (keys.len(), store.reserve(keys, noon()).await.expect("reserves"));
    assert_eq!(answers.len(), count, "one answer per key");
    answers
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
            let held = |((key, ..), other): ((String, _, _), Option<JobId>)| (key, other.unwrap_or(id));
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
