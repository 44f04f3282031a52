//! Cases of reading through a cache.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use base::testing::until;
use cache::{Cache, CacheKind, CacheStats, FetchError, Namespace, fetch};
use futures::{FutureExt, future::join_all};
use tokio::{
    sync::{Notify, Semaphore, oneshot},
    time::Instant,
};

use super::{Caches, PRODUCTS};

/// An invalidation is in force in all processes within this time, as `docs/CACHE.md` promises; values of these cases
/// live far longer.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Reads `id`; a load returns `found`.
async fn read(cache: &dyn Cache, namespace: &Namespace, id: &str, found: Option<u32>) -> Option<u32> {
    fetch(cache, namespace, id, move || async move { Ok::<_, Infallible>(found) }).await.expect("reads")
}

/// Reads `id` and counts loads.
async fn counted(cache: &dyn Cache, id: &str, found: Option<u32>, loads: &Arc<AtomicU32>) -> Option<u32> {
    let loads = Arc::clone(loads);
    let load = move || async move {
        loads.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Infallible>(found)
    };
    fetch(cache, &PRODUCTS, id, load).await.expect("reads")
}

/// Fifty concurrent reads cause one load.
pub async fn one_loads_and_the_others_wait(caches: Caches) {
    let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let readers = (0..50).map(|_| {
        let (cache, loads, gate) = (Arc::clone(&caches.here), Arc::clone(&loads), Arc::clone(&gate));
        tokio::spawn(async move {
            let load = move || async move {
                loads.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok::<_, Infallible>(Some(7))
            };
            fetch(&*cache, &PRODUCTS, "crowd", load).await.expect("reads")
        })
    });
    let readers: Vec<_> = readers.collect();
    until("one reader loads", || async { loads.load(Ordering::SeqCst) == 1 }).await;
    gate.notify_one();
    let read: Vec<Option<u32>> = join_all(readers).await.into_iter().map(|r| r.expect("ends")).collect();
    assert_eq!((read, loads.load(Ordering::SeqCst)), (vec![Some(7); 50], 1));
    assert_eq!(caches.here.stats().loads, 1);
}

/// If the caller that loads is dropped, another reader loads.
pub async fn a_load_that_was_dropped_is_taken_over(caches: Caches) {
    let (started, starting) = oneshot::channel();
    let never = move || async move {
        started.send(()).expect("is awaited");
        std::future::pending::<Result<Option<u32>, Infallible>>().await
    };
    let cache = Arc::clone(&caches.here);
    let first = tokio::spawn(async move { fetch(&*cache, &PRODUCTS, "left", never).await.map(drop) });
    starting.await.expect("starts");
    let cache = Arc::clone(&caches.here);
    let second = tokio::spawn(async move { read(&*cache, &PRODUCTS, "left", Some(2)).await });
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.expect("ends"), Some(2));
}

/// A missing value is cached, too.
pub async fn nothing_is_remembered_too(caches: Caches) {
    let loads = Arc::new(AtomicU32::new(0));
    for _ in 0..3 {
        assert_eq!(counted(&*caches.here, "none", None, &loads).await, None);
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

/// The next reader loads again.
pub async fn failures_are_told_to_all_and_not_remembered(caches: Caches) {
    let fail = || async { Err::<Option<u32>, _>(std::io::Error::other("no disk")) };
    let told: FetchError = fetch(&*caches.here, &PRODUCTS, "fails", fail).await.expect_err("fails");
    assert_eq!(told.0.to_string(), "no disk");
    assert_eq!(read(&*caches.here, &PRODUCTS, "fails", Some(3)).await, Some(3));
}

/// During a slow load of the old value: a write, then a read. The read returns the new value, and the old one never
/// comes back.
pub async fn a_read_after_an_invalidation_sees_no_older_load(caches: Caches) {
    let (started, starting) = oneshot::channel();
    let (release, released) = oneshot::channel::<()>();
    let slow = move || async move {
        started.send(()).expect("is awaited");
        drop(released.await);
        Ok::<_, Infallible>(Some(1))
    };
    let cache = Arc::clone(&caches.here);
    let old = tokio::spawn(async move { fetch(&*cache, &PRODUCTS, "changed", slow).await.expect("reads") });
    starting.await.expect("starts");
    caches.here.invalidate(&[PRODUCTS.key("changed")]).await;
    let new = read(&*caches.here, &PRODUCTS, "changed", Some(2)).now_or_never();
    let new = match new {
        Some(new) => new,
        None => read(&*caches.here, &PRODUCTS, "changed", Some(2)).await,
    };
    assert_eq!(new, Some(2), "did not wait for the old load");
    release.send(()).expect("still loading");
    assert_eq!(old.await.expect("ends"), Some(1));
    for cache in [Some(&caches.here), caches.there.as_ref()].into_iter().flatten() {
        assert_eq!(read(&**cache, &PRODUCTS, "changed", Some(2)).await, Some(2));
    }
    caches.here.invalidate(&[PRODUCTS.key("changed")]).await;
    assert_eq!(read(&*caches.here, &PRODUCTS, "changed", Some(3)).await, Some(3));
}

/// Within the promised second, also where the value was read just before.
pub async fn an_invalidation_is_seen_by_other_processes(caches: Caches) {
    let Some(there) = &caches.there else { return };
    for (round, id) in (0..10).zip(["a", "b"].iter().cycle()) {
        read(&**there, &PRODUCTS, id, Some(round)).await;
        for found in [Some(round + 100), None, Some(round)] {
            caches.here.invalidate(&[PRODUCTS.key(id)]).await;
            let began = Instant::now();
            until("the other process loads afresh", || async {
                read(&**there, &PRODUCTS, id, found).await == found
            })
            .await;
            assert!(began.elapsed() <= TOLD_WITHIN, "{found:?} after {:?}", began.elapsed());
        }
    }
}

/// One load serves both processes.
pub async fn what_another_process_read_is_shared(caches: Caches) {
    let Some(there) = &caches.there else { return };
    let loads = Arc::new(AtomicU32::new(0));
    for (id, found) in [("shared", Some(5)), ("shared none", None)] {
        assert_eq!(counted(&*caches.here, id, found, &loads).await, found);
        assert_eq!(counted(&**there, id, found, &loads).await, found);
    }
    assert_eq!((loads.load(Ordering::SeqCst), there.stats().shared_hits), (2, 2));
}

/// Of a hundred concurrent reads in two processes, one loads.
pub async fn one_process_loads_for_all(caches: Caches) {
    let Some(there) = &caches.there else { return };
    let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let readers = [&caches.here, there].into_iter().cycle().take(100).map(|cache| {
        let (cache, loads, gate) = (Arc::clone(cache), Arc::clone(&loads), Arc::clone(&gate));
        tokio::spawn(async move {
            let load = move || async move {
                loads.fetch_add(1, Ordering::SeqCst);
                drop(gate.acquire().await);
                Ok::<_, Infallible>(Some(7))
            };
            fetch(&*cache, &PRODUCTS, "crowd of two", load).await.expect("reads")
        })
    });
    let readers: Vec<_> = readers.collect();
    until("one process loads", || async { loads.load(Ordering::SeqCst) > 0 }).await;
    gate.add_permits(readers.len());
    let read: Vec<Option<u32>> = join_all(readers).await.into_iter().map(|r| r.expect("ends")).collect();
    assert_eq!((read, loads.load(Ordering::SeqCst)), (vec![Some(7); 100], 1));
    let stats = [caches.here.stats(), there.stats()];
    assert_eq!(stats.map(|stats| stats.loads).iter().sum::<u64>(), 1, "{stats:?}");
}

/// The other process need not wait until the lock of the load ends.
pub async fn a_load_that_fails_or_is_dropped_is_taken_over_by_another_process(caches: Caches) {
    let Some(there) = &caches.there else { return };
    for fails in [true, false] {
        let id = if fails { "fails elsewhere" } else { "left elsewhere" };
        let (started, starting) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let load = move || async move {
            started.send(()).expect("is awaited");
            drop(ended.await);
            Err::<Option<u32>, _>(std::io::Error::other("no disk"))
        };
        let cache = Arc::clone(&caches.here);
        let first = tokio::spawn(async move { fetch(&*cache, &PRODUCTS, id, load).await.map(drop) });
        starting.await.expect("starts");
        let cache = Arc::clone(there);
        let second = tokio::spawn(async move { read(&*cache, &PRODUCTS, id, Some(2)).await });
        tokio::task::yield_now().await;
        if fails {
            end.send(()).expect("is awaited");
            first.await.expect("ends").expect_err("fails");
        } else {
            first.abort();
        }
        assert_eq!(second.await.expect("ends"), Some(2));
    }
}

/// Each kind has its own counts, and all reads are the sum of them.
pub async fn reads_are_counted_by_their_kind(caches: Caches) {
    let listing = Namespace { name: "lists", kind: CacheKind::Query, ..PRODUCTS };
    for _ in 0..3 {
        read(&*caches.here, &PRODUCTS, "counted", Some(1)).await;
    }
    read(&*caches.here, &listing, "counted", Some(1)).await;
    let stats = |local_hits, loads| CacheStats { local_hits, shared_hits: 0, loads };
    let of = |kind| caches.here.stats_of(kind);
    assert_eq!(of(CacheKind::Data), stats(2, 1));
    assert_eq!(of(CacheKind::Query), stats(0, 1));
    assert_eq!(of(CacheKind::Version), CacheStats::default());
    assert_eq!(caches.here.stats(), stats(2, 2));
}

/// Two versions of a namespace are cached side by side.
pub async fn versions_and_ids_are_apart(caches: Caches) {
    let next = Namespace { version: 2, ..PRODUCTS };
    let other = Namespace { name: "categories", ..PRODUCTS };
    for (found, (namespace, id)) in (0..).zip([(PRODUCTS, "x"), (next, "x"), (other, "x"), (PRODUCTS, "y")]) {
        assert_eq!(read(&*caches.here, &namespace, id, Some(found)).await, Some(found));
    }
    caches.here.invalidate(&[next.key("x")]).await;
    assert_eq!(read(&*caches.here, &next, "x", Some(9)).await, Some(9));
}

/// Not before nine tenths of the TTL, and soon after.
pub async fn values_run_out(caches: Caches) {
    let ttl = Duration::from_millis(300);
    let short = Namespace { name: "short", ttl, negative_ttl: ttl, ..PRODUCTS };
    for found in [Some(1), None] {
        let id = if found.is_some() { "some" } else { "none" };
        let began = Instant::now();
        assert_eq!(read(&*caches.here, &short, id, found).await, found);
        until("it is loaded again", || async { read(&*caches.here, &short, id, Some(2)).await == Some(2) })
            .await;
        assert!(began.elapsed() >= ttl * 9 / 10, "ran out after {:?}", began.elapsed());
    }
}

/// A value in an unknown format costs one failed read, not an outage.
pub async fn a_value_that_cannot_be_read_is_loaded_afresh(caches: Caches) {
    let nonsense = async { Ok(Some(Arc::from(&b"\xff not JSON"[..]))) };
    let key = PRODUCTS.key("spoilt");
    caches.here.get_or_load(&PRODUCTS, key, nonsense.boxed()).await.expect("keeps anything");
    let load = || async { Ok::<_, Infallible>(Some(4_u32)) };
    fetch::<u32, _, _>(&*caches.here, &PRODUCTS, "spoilt", load).await.expect_err("cannot be read");
    assert_eq!(read(&*caches.here, &PRODUCTS, "spoilt", Some(4)).await, Some(4));
}
