//! The two levels of a [`RedisCache`](super::RedisCache): look-ups, loads and invalidations in Redis and in memory.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Ambient, Timestamp};
use futures::future::join_all;
use redis::Script;

use super::{RedisServer, link::Trouble};
use crate::{CacheKey, CacheStats, Health, Loaded, Loader, MemoryCache, MemoryConfig, Namespace, Result};

/// Lifetime in memory of a value that Redis has too.
const NEAR_TTL: Duration = Duration::from_secs(30);
/// The same while invalidations are not received: enough to share a burst of reads.
const DEAF_TTL: Duration = Duration::from_secs(1);
/// Lifetime of a generation: longer than any load.
const GENERATION_TTL_MS: u64 = 10 * 60 * 1000;
/// Invalidations kept while Redis is unreachable.
const PENDING_MAX: usize = 10_000;
/// Values larger than this stay in memory only: they would delay other answers on the shared connection.
const SHARED_BYTES_MAX: usize = 256 * 1024;

/// Returns value, generation and the remaining lifetime of the value.
const LOOK: &str =
    "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[1])}";
/// Stores a loaded value unless the key was invalidated since the lookup.
const KEEP: &str = "
    if (redis.call('GET', KEYS[2]) or '') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end";
/// Deletes the value, sets a new generation and notifies other processes.
const FORGET: &str = "
    redis.call('DEL', KEYS[1])
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
    redis.call('PUBLISH', ARGV[3], ARGV[4])";

/// The state of a cache that its clones and its listener share.
pub(super) struct CacheLevels {
    pub(super) server: RedisServer,
    pub(super) near: MemoryCache,
    pub(super) ambient: Ambient,
    /// Since when invalidations of other processes are not received, in Unix milliseconds; zero while they are.
    deaf_since_ms: AtomicI64,
    pending: Mutex<HashSet<CacheKey>>,
    scripts: Scripts,
    shared_hits: AtomicU64,
    loads: AtomicU64,
}

struct Scripts {
    look: Script,
    keep: Script,
    forget: Script,
}

struct Lookup {
    value: Option<(Loaded, Duration)>,
    generation: String,
}

impl CacheLevels {
    pub(super) fn new(server: RedisServer, near: MemoryConfig, ambient: Ambient) -> Self {
        Self {
            server,
            near: MemoryCache::new(near, ambient.clone()),
            deaf_since_ms: AtomicI64::new(ambient.now().as_millisecond()),
            pending: Mutex::default(),
            scripts: Scripts {
                look: Script::new(LOOK),
                keep: Script::new(KEEP),
                forget: Script::new(FORGET),
            },
            shared_hits: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            ambient,
        }
    }

    pub(super) fn health(&self) -> Health {
        let deaf_since = self.deaf_since_ms.load(Ordering::Acquire);
        match self.server.link.health() {
            Health::Up if deaf_since != 0 => Health::Down {
                since: Timestamp::from_millisecond(deaf_since).unwrap_or(Timestamp::UNIX_EPOCH),
                detail: "invalidations of other processes are not received".to_owned(),
            },
            of_link => of_link,
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            local_hits: self.near.counts().1,
            shared_hits: self.shared_hits.load(Ordering::Relaxed),
            loads: self.loads.load(Ordering::Relaxed),
        }
    }

    pub(super) fn channel(&self) -> String {
        format!("{}:invalidated", self.server.prefix)
    }

    pub(super) async fn load(
        &self,
        namespace: &Namespace,
        key: &CacheKey,
        load: Loader,
    ) -> Result<(Loaded, Duration)> {
        let look = if self.pending().contains(key) { None } else { self.look_up(key).await.ok() };
        if let Some(Lookup { value: Some((value, left)), .. }) = look {
            self.shared_hits.fetch_add(1, Ordering::Relaxed);
            return Ok((value, left.min(self.near_ttl())));
        }
        self.loads.fetch_add(1, Ordering::Relaxed);
        let value = load.await?;
        let whole = self.near.lifetime(namespace, &value);
        if let Some(look) = look {
            self.keep(key, &value, whole, &look.generation).await;
        }
        Ok((value, whole.min(self.near_ttl())))
    }

    fn near_ttl(&self) -> Duration {
        if self.deaf_since_ms.load(Ordering::Acquire) == 0 { NEAR_TTL } else { DEAF_TTL }
    }

    /// Invalidations are received from now on; memory, which may have missed some, is emptied first.
    pub(super) fn hears(&self) {
        self.near.forget_all();
        self.deaf_since_ms.store(0, Ordering::Release);
    }

    /// Invalidations are not received from now on.
    pub(super) fn is_deaf(&self) {
        let now = self.ambient.now().as_millisecond();
        if self.deaf_since_ms.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.near.forget_all();
        }
    }

    async fn look_up(&self, key: &CacheKey) -> Result<Lookup, Trouble> {
        let [value, generation] = self.keys(key);
        let mut script = self.scripts.look.prepare_invoke();
        script.key(value).key(generation);
        let (value, generation, left): (Option<Vec<u8>>, Option<String>, i64) =
            self.server.link.run(&script).await?;
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let value = value.and_then(|bytes| Some((decode(&bytes)?, left)));
        Ok(Lookup { value, generation: generation.unwrap_or_default() })
    }

    async fn keep(&self, key: &CacheKey, value: &Loaded, whole: Duration, generation: &str) {
        let (bytes, millis) = (encode(value), whole.as_millis());
        if bytes.len() > SHARED_BYTES_MAX || millis == 0 {
            return;
        }
        let [value, generation_key] = self.keys(key);
        let mut script = self.scripts.keep.prepare_invoke();
        script.key(value).key(generation_key).arg(generation).arg(bytes).arg(millis.to_string());
        // A value that is not stored is loaded again later; the link has logged the failure.
        drop(self.server.link.run::<()>(&script).await);
    }

    /// Invalidates in Redis, which notifies other processes; kept for a later try when Redis does not answer.
    pub(super) async fn forget(&self, key: &CacheKey) {
        let [value, generation] = self.keys(key);
        let mut script = self.scripts.forget.prepare_invoke();
        script.key(value).key(generation).arg(self.ambient.uuid().to_string()).arg(GENERATION_TTL_MS);
        script.arg(self.channel()).arg(key.as_str());
        match self.server.link.run::<()>(&script).await {
            Ok(()) => {
                self.pending().remove(key);
            }
            Err(_) => self.remember(key),
        }
    }

    fn remember(&self, key: &CacheKey) {
        let mut pending = self.pending();
        if pending.len() < PENDING_MAX {
            pending.insert(key.clone());
        } else if !pending.contains(key) {
            tracing::error!(key = key.as_str(), "Redis invalidation lost: too many pending");
        }
    }

    /// Sends the invalidations that Redis did not accept.
    pub(super) async fn catch_up(&self) {
        let waiting: Vec<CacheKey> = self.pending().iter().cloned().collect();
        for some in waiting.chunks(64) {
            if self.server.link.health() != Health::Up {
                return;
            }
            join_all(some.iter().map(|key| self.forget(key))).await;
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashSet<CacheKey>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self, key: &CacheKey) -> [String; 2] {
        [self.server.key("c", key.as_str()), self.server.key("g", key.as_str())]
    }
}

/// The first byte tells a value (1) from a cached absence (0).
fn encode(value: &Loaded) -> Vec<u8> {
    match value {
        None => vec![0],
        Some(bytes) => [&[1], bytes.as_ref()].concat(),
    }
}

fn decode(bytes: &[u8]) -> Option<Loaded> {
    match bytes.split_first()? {
        (0, _) => Some(None),
        (1, value) => Some(Some(value.into())),
        _ => None,
    }
}
