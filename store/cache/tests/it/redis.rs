//! Redis engines on a real server.

use std::{sync::Arc, time::Duration};

use base::{Ambient, testing::until};
use cache::{
    Cache, CacheKind, Health, Limits, LocalLimits, MemoryConfig, Namespace, Quota, RateLimits, RedisCache,
    RedisLimits, RedisSessions, SessionKey, Sessions, fetch,
};
use futures::FutureExt;
use store_conformance::cache::Caches;

use crate::util::redis::{Corner, skipped};

fn open_one(corner: &Corner) -> RedisCache {
    RedisCache::new(corner.server(), MemoryConfig::default(), Ambient::system())
}

async fn open_caches() -> Option<(Caches, Corner)> {
    if skipped() {
        return None;
    }
    let corner = Corner::create().await;
    let (here, there) = (open_one(&corner), open_one(&corner));
    // A cache drops what it reads until it receives invalidations.
    until("both hear", || async { [&here, &there].iter().all(|cache| cache.health() == Health::Up) }).await;
    let caches = Caches { here: Arc::new(here), there: Some(Arc::new(there)) };
    Some((caches, corner))
}

async fn open_sessions() -> Option<(Arc<dyn Sessions>, Corner)> {
    if skipped() {
        return None;
    }
    let corner = Corner::create().await;
    Some((Arc::new(RedisSessions::new(corner.server(), Ambient::system())), corner))
}

async fn open_limits() -> Option<(Arc<dyn RateLimits>, Corner)> {
    if skipped() {
        return None;
    }
    let corner = Corner::create().await;
    Some((Arc::new(RedisLimits::new(corner.server())), corner))
}

mod caches {
    store_conformance::cache_suite!(crate::redis::open_caches);
}

mod sessions {
    store_conformance::session_suite!(crate::redis::open_sessions);
}

mod limits {
    store_conformance::rate_limit_suite!(crate::redis::open_limits);
}

const PAGES: Namespace = Namespace {
    name: "pages",
    version: 1,
    kind: CacheKind::Data,
    ttl: Duration::from_mins(1),
    negative_ttl: Duration::from_mins(1),
};

#[tokio::test]
async fn every_key_runs_out() {
    if skipped() {
        return;
    }
    let corner = Corner::create().await;
    let cache = open_one(&corner);
    let load = || async { Ok::<_, std::convert::Infallible>(Some(1)) };
    fetch(&cache, &PAGES, "a", load).await.expect("reads");
    cache.invalidate(&[PAGES.key("b")]).await;
    let sessions = RedisSessions::new(corner.server(), Ambient::system());
    sessions.put(&SessionKey::new("cart", 1), b"c", Duration::from_mins(1)).await.expect("writes");
    sessions.replace(&SessionKey::new("cart", 2), None, b"c", Duration::from_mins(1)).await.expect("writes");
    let quota = Quota::per_second(1, 60);
    RedisLimits::new(corner.server()).check("key", &quota).await.expect("answers");
    let keys = corner.keys().await;
    assert_eq!(keys.len(), 5, "{keys:?}");
    for key in keys {
        let left = corner.ttl_ms(&key).await;
        assert!((1..=600_000).contains(&left), "{key} runs out in {left} ms");
    }
}

#[tokio::test]
async fn a_load_slower_than_a_write_elsewhere_is_not_shared() {
    if skipped() {
        return;
    }
    let corner = Corner::create().await;
    let (here, there) = (open_one(&corner), open_one(&corner));
    let writer = there.clone();
    // While this process loads, another one writes and invalidates.
    let load = async move {
        writer.invalidate(&[PAGES.key("raced")]).await;
        Ok(Some(Arc::from(&b"1"[..])))
    };
    here.get_or_load(&PAGES, PAGES.key("raced"), load.boxed()).await.expect("reads");
    let fresh = || async { Ok::<_, std::convert::Infallible>(Some(2)) };
    assert_eq!(fetch(&there, &PAGES, "raced", fresh).await.expect("reads"), Some(2));
}

#[tokio::test]
async fn two_processes_share_one_promise() {
    if skipped() {
        return;
    }
    let corner = Corner::create().await;
    let limits = || Limits::new(RedisLimits::new(corner.server()), LocalLimits::new(10, Ambient::system()));
    let (here, there) = (limits(), limits());
    let quota = Quota { interval: Duration::from_hours(1), burst: 4 };
    let mut allowed = Vec::new();
    for _ in 0..3 {
        allowed.push(here.check("k", &quota).await.expect("decides").allowed);
        allowed.push(there.check("k", &quota).await.expect("decides").allowed);
    }
    assert_eq!(allowed, [true, true, true, true, false, false]);
}
