//! Embedded engines of caches, sessions and rate limits: in memory and in SQLite files.

use std::{sync::Arc, time::Duration};

use base::Ambient;
use cache::{
    Cache, CacheKind, DerivedCache, DerivedStats, LocalLimits, MemoryCache, MemoryConfig, Namespace, Quota,
    RateLimits, SessionError, SessionKey, Sessions, SqliteSessions, fetch,
};
use store_conformance::{Clockwork, cache::Caches};
use tempfile::TempDir;

#[expect(clippy::unused_async, reason = "the suite awaits its openers")]
async fn open_cache() -> (Caches, ()) {
    let here = Arc::new(MemoryCache::new(MemoryConfig::default(), Ambient::system()));
    (Caches { here, there: None }, ())
}

async fn open_sessions() -> (Arc<dyn Sessions>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    (Arc::new(open_file(&folder).await), folder)
}

async fn open_file(folder: &TempDir) -> SqliteSessions {
    SqliteSessions::open(&folder.path().join("sessions.db"), Ambient::system()).await.expect("opens")
}

#[expect(clippy::unused_async, reason = "the suite awaits its openers")]
async fn open_limits() -> (Arc<dyn RateLimits>, ()) {
    (Arc::new(LocalLimits::new(1000, Ambient::system())), ())
}

mod memory {
    store_conformance::cache_suite!(crate::embedded::open_cache);
}

mod sqlite {
    store_conformance::session_suite!(crate::embedded::open_sessions);
}

mod local {
    store_conformance::rate_limit_suite!(crate::embedded::open_limits);
}

const PAGES: Namespace = Namespace {
    name: "pages",
    version: 1,
    kind: CacheKind::Data,
    ttl: Duration::from_mins(1),
    negative_ttl: Duration::from_mins(1),
};

#[tokio::test]
async fn memory_stays_within_its_bound() {
    let cache = MemoryCache::new(MemoryConfig { bytes_max: 100_000 }, Ambient::system());
    for page in 0..1000 {
        let load = || async { Ok::<_, std::convert::Infallible>(Some("x".repeat(1000))) };
        fetch(&cache, &PAGES, &page.to_string(), load).await.expect("reads");
    }
    assert_eq!(cache.stats().loads, 1000);
    let held = cache.bytes().await;
    assert!(held > 10_000 && held <= 100_000, "{held} bytes");
}

#[tokio::test]
async fn what_is_made_of_cached_values_is_current_while_they_are() {
    let clockwork = Clockwork::new(1);
    let now = || clockwork.ambient.now();
    let pages = DerivedCache::new(1_000_000, Duration::from_hours(1));
    let sources = |text: &str| vec![Arc::<[u8]>::from(text.as_bytes())];
    let first = sources("a mug");
    assert_eq!(pages.current("mug", &first, now()).await, None);
    pages.put("mug", first.clone(), "page of a mug", 13, now()).await;
    assert_eq!(pages.current("mug", &first, now()).await, Some("page of a mug"));
    // Loaded again with the same content, later: the page is as old as that load.
    clockwork.pass(Duration::from_mins(1));
    let loaded_again = now();
    assert_eq!(pages.current("mug", &sources("a mug"), now()).await, Some("page of a mug"));
    assert_eq!(pages.former("mug", loaded_again).await, Some(("page of a mug", loaded_again)));
    // Changed: the page is a former one.
    clockwork.pass(Duration::from_mins(1));
    assert_eq!(pages.current("mug", &sources("a cup"), now()).await, None);
    assert_eq!(pages.former("mug", loaded_again).await, Some(("page of a mug", loaded_again)));
    assert_eq!(pages.former("mug", now()).await, None, "too old");
    assert_eq!(pages.former("cup", loaded_again).await, None);
    assert_eq!(pages.stats(), DerivedStats { current: 2, made: 1, former: 2 });
}

#[tokio::test]
async fn derived_values_stay_within_their_bound() {
    let ambient = Ambient::system();
    let pages = DerivedCache::new(100_000, Duration::from_hours(1));
    for page in 0..1000 {
        let source: Arc<[u8]> = Arc::from(vec![b'x'; 500]);
        pages.put(&page.to_string(), vec![source], page, 500, ambient.now()).await;
    }
    let held = pages.bytes().await;
    assert!(held > 10_000 && held <= 100_000, "{held} bytes");
}

#[tokio::test]
async fn a_session_survives_a_restart_and_a_closed_file_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = SessionKey::new("cart", "1");
    let first = open_file(&folder).await;
    first.put(&key, b"two books", Duration::from_mins(1)).await.expect("writes");
    first.close().await;
    let closed = first.get(&key).await;
    assert!(matches!(closed, Err(SessionError::Unavailable { .. })), "{closed:?}");
    drop(first);
    let second = open_file(&folder).await;
    assert_eq!(second.get(&key).await.expect("reads").expect("there").data, b"two books");
}

#[tokio::test]
async fn expiry_frees_ended_sessions_by_and_by() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clockwork = Clockwork::new(1);
    let path = folder.path().join("sessions.db");
    let sessions = SqliteSessions::open(&path, clockwork.ambient.clone()).await.expect("opens");
    for n in 0..5 {
        let ttl = Duration::from_secs(if n < 3 { 1 } else { 100 });
        sessions.put(&SessionKey::new("cart", n), b"c", ttl).await.expect("writes");
    }
    clockwork.pass(Duration::from_secs(1));
    assert_eq!(sessions.expire(2).await.expect("expires"), 2);
    assert_eq!(sessions.expire(2).await.expect("expires"), 1);
    assert_eq!(sessions.expire(2).await.expect("expires"), 0);
}

#[tokio::test]
async fn the_number_of_keys_is_bounded_and_the_rate_exact() {
    let clockwork = Clockwork::new(1);
    let limits = LocalLimits::new(100, clockwork.ambient.clone());
    let quota = Quota::per_second(10, 5);
    for key in 0..100 {
        assert!(limits.decide(&key.to_string(), &quota).allowed);
    }
    assert!(!limits.decide("one more", &quota).allowed, "keys in use are not washed out");
    clockwork.pass(Duration::from_secs(1));
    assert!(limits.decide("one more", &quota).allowed, "keys at rest make room");
    let mut passed = 0;
    for _ in 0..1000 {
        passed += u32::from(limits.decide("steady", &quota).allowed);
        clockwork.pass(Duration::from_millis(10));
    }
    assert_eq!(passed, 5 + 99, "the burst, then ten a second for ten seconds");
}
