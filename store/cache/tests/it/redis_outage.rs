//! Outages of a Redis server: unreachable, hanging, and back.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use base::{
    Ambient,
    testing::{Proxy, until},
};
use cache::{
    Cache, CacheKind, Health, Limits, LocalLimits, MemoryConfig, Namespace, Quota, RateLimits, RedisCache,
    RedisConfig, RedisLimits, RedisServer, RedisSessions, SessionError, SessionKey, Sessions, fetch,
};
use secrecy::SecretString;
use tokio::{sync::oneshot, time::Instant};

use crate::util::redis::{Corner, address, skipped};

const PAGES: Namespace = Namespace {
    name: "pages",
    version: 1,
    kind: CacheKind::Data,
    ttl: Duration::from_mins(10),
    negative_ttl: Duration::from_mins(10),
};

fn open(config: &RedisConfig) -> (RedisServer, RedisCache) {
    let server = RedisServer::new(config, Ambient::system()).expect("an address");
    (server.clone(), RedisCache::new(server, MemoryConfig::default(), Ambient::system()))
}

async fn read(cache: &RedisCache, id: &str, found: u32) -> u32 {
    let load = move || async move { Ok::<_, Infallible>(Some(found)) };
    fetch(cache, &PAGES, id, load).await.expect("never fails for the cache's sake").expect("there")
}

fn nowhere() -> RedisConfig {
    // Nothing listens on the discard port.
    RedisConfig::new(SecretString::from("redis://:hunter2@127.0.0.1:9/0"))
}

#[tokio::test]
async fn without_a_server_reads_are_loaded_sessions_say_so_and_limits_hold() {
    let (server, cache) = open(&nowhere());
    let loads = Arc::new(AtomicU32::new(0));
    for page in 0..20 {
        let counting = Arc::clone(&loads);
        let load = move || async move { Ok::<_, Infallible>(Some(counting.fetch_add(1, Ordering::SeqCst))) };
        assert_eq!(fetch(&cache, &PAGES, &page.to_string(), load).await.expect("reads"), Some(page));
    }
    cache.invalidate(&[PAGES.key("1")]).await;
    assert_eq!(read(&cache, "1", 100).await, 100, "a write is seen all the same");
    let Health::Down { since, detail } = cache.health() else { panic!("no server answers") };
    assert!(!detail.contains("hunter2"), "{detail}");
    let sessions = RedisSessions::new(server.clone(), Ambient::system());
    let told = sessions.get(&SessionKey::new("cart", 1)).await;
    assert!(
        matches!(&told, Err(SessionError::Unavailable { since: Some(at), .. }) if *at == since),
        "{told:?}"
    );
    let limits = Limits::new(RedisLimits::new(server), LocalLimits::new(10, Ambient::system()));
    let quota = Quota { interval: Duration::from_hours(1), burst: 2 };
    let mut allowed = Vec::new();
    for _ in 0..4 {
        allowed.push(limits.check("k", &quota).await.expect("decides").allowed);
    }
    assert_eq!(allowed, [true, true, false, false]);
}

#[tokio::test]
async fn what_changed_during_an_outage_is_not_read_after_it() {
    if skipped() {
        return;
    }
    let corner = Corner::create().await;
    let proxy = Proxy::start(address()).await;
    let (_, far) = open(&corner.config());
    let (server, cache) = open(&corner.config_by(proxy.port));
    assert_eq!(read(&cache, "a", 1).await, 1);
    assert_eq!(read(&far, "a", 9).await, 1, "shared");
    proxy.set_accepting(false);
    proxy.cut();
    until("trouble is noticed", || async { server.ping().await != Health::Up }).await;
    cache.invalidate(&[PAGES.key("a")]).await;
    assert_eq!(read(&cache, "a", 2).await, 2, "the old value still stands in redis");
    // The other process has not received this invalidation, and this process does not receive the next one.
    far.invalidate(&[PAGES.key("b")]).await;
    proxy.set_accepting(true);
    until("it is well again", || async { server.ping().await == Health::Up }).await;
    until("the invalidation is made up for", || async { read(&far, "a", 3).await != 1 }).await;
    until("and invalidations are heard again", || async {
        far.invalidate(&[PAGES.key("c")]).await;
        read(&far, "c", 5).await;
        let seen = read(&cache, "c", 6).await;
        far.invalidate(&[PAGES.key("c")]).await;
        read(&far, "c", 7).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen == 5 && read(&cache, "c", 8).await == 7
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_one_wait_and_not_one_per_read() {
    if skipped() {
        return;
    }
    let corner = Corner::create().await;
    let proxy = Proxy::start(address()).await;
    let short = Duration::from_millis(300);
    let config =
        RedisConfig { command_timeout: short, connect_timeout: short, ..corner.config_by(proxy.port) };
    let (server, cache) = open(&config);
    until("it is well", || async { server.ping().await == Health::Up }).await;
    proxy.set_deaf(true);
    let began = Instant::now();
    for page in 0..200 {
        assert_eq!(read(&cache, &page.to_string(), page).await, page);
    }
    // Each read would wait 0.3 s if the outage were not shared between them.
    assert!(began.elapsed() < short * 10, "200 reads took {:?}", began.elapsed());
    assert_ne!(cache.health(), Health::Up);
    proxy.set_deaf(false);
    // The old connections stay out of step with their answers; new ones work.
    until("it is well again", || async { server.ping().await == Health::Up }).await;
}

/// It cannot free the lock of its load; that ends by itself.
#[tokio::test]
async fn a_process_cut_off_while_it_loads_holds_up_no_other_for_long() {
    if skipped() {
        return;
    }
    let corner = Corner::create().await;
    let proxy = Proxy::start(address()).await;
    let (_, far) = open(&corner.config());
    let (_, cut_off) = open(&corner.config_by(proxy.port));
    let (started, starting) = oneshot::channel();
    let hanging = move || async move {
        started.send(()).expect("is awaited");
        std::future::pending::<Result<Option<u32>, Infallible>>().await
    };
    let loading = tokio::spawn(async move { fetch(&cut_off, &PAGES, "held", hanging).await.map(drop) });
    starting.await.expect("starts");
    proxy.set_accepting(false);
    proxy.cut();
    let began = Instant::now();
    assert_eq!(read(&far, "held", 2).await, 2);
    assert!(began.elapsed() < Duration::from_secs(20), "waited for {:?}", began.elapsed());
    // No lock is left: the next value is loaded at once.
    far.invalidate(&[PAGES.key("held")]).await;
    assert_eq!(read(&far, "held", 3).await, 3);
    loading.abort();
}

#[tokio::test]
async fn no_debug_text_shows_the_password() {
    let config = nowhere();
    let (server, _) = open(&config);
    server.ping().await;
    let bad =
        RedisServer::new(&RedisConfig { url: "rodis://:hunter2@x".into(), ..nowhere() }, Ambient::system());
    let shown = format!("{config:?} {server:?} {:?} {bad:?}", server.health());
    assert!(bad.is_err() && !shown.contains("hunter2"), "{shown}");
}
