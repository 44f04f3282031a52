//! Two levels: this process's memory over a shared Redis.
//!
//! Guarantees, beyond [`Cache`]: a slow load never overwrites what was invalidated meanwhile, in either level: in Redis
//! a load is written only if the generation of its key is still what the look-up before it saw. Invalidations that
//! Redis did not take are kept, bounded, and made up for later; until then this process does not look there for those
//! keys. Values in memory live shortly, and very shortly while invalidations of others cannot be heard.
//! One load per key and process: processes do not wait for each other's loads.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base::{Ambient, Timestamp};
use futures::future::join_all;
use redis::Script;

use super::{
    RedisServer,
    link::{Link, Trouble},
    listener,
};
use crate::cache::{
    Cache, CacheKey, CacheStats, Health, LoadError, Loaded, Loader, MemoryCache, MemoryConfig, Namespace,
};

/// How long memory holds what Redis holds too.
const NEAR_TTL: Duration = Duration::from_secs(30);
/// The same while nobody would tell of a change: enough to share a rush.
const DEAF_TTL: Duration = Duration::from_secs(1);
/// How long a generation is remembered: longer than any load takes.
const GENERATION_TTL_MS: u64 = 10 * 60 * 1000;
/// Invalidations kept for a server that is away.
const PENDING_MAX: usize = 10_000;
/// Values larger than this stay in memory alone: they would hold up everybody's answers.
const SHARED_BYTES_MAX: usize = 256 * 1024;

/// Value, generation and what is left of the value's life.
const LOOK: &str =
    "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[1])}";
/// Keeps a loaded value unless the key was invalidated since the look-up.
const KEEP: &str = "
    if (redis.call('GET', KEYS[2]) or '') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end";
/// Deletes, raises the generation and tells the others.
const FORGET: &str = "
    redis.call('DEL', KEYS[1])
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
    redis.call('PUBLISH', ARGV[3], ARGV[4])";

/// A [`Cache`] over memory and Redis. Clones share it.
#[derive(Clone)]
pub struct RedisCache {
    inner: Arc<RedisCacheInner>,
}

pub(super) struct RedisCacheInner {
    pub(super) server: RedisServer,
    pub(super) near: MemoryCache,
    pub(super) ambient: Ambient,
    /// Since when invalidations of other processes do not arrive, in milliseconds; zero when they do.
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

/// What Redis knows of a key.
struct Lookup {
    value: Option<(Loaded, Duration)>,
    generation: String,
}

impl RedisCache {
    /// Starts listening for invalidations, until the last clone is dropped. Must be called within a tokio runtime.
    pub fn new(server: RedisServer, near: MemoryConfig, ambient: Ambient) -> Self {
        let inner = Arc::new(RedisCacheInner {
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
        });
        tokio::spawn(listener::run(Arc::downgrade(&inner)));
        Self { inner }
    }
}

impl RedisCacheInner {
    pub(super) fn link(&self) -> &Link {
        &self.server.link
    }

    pub(super) fn channel(&self) -> String {
        format!("{}:invalidated", self.server.prefix)
    }

    async fn load(
        &self,
        namespace: &Namespace,
        key: &CacheKey,
        load: Loader,
    ) -> Result<(Loaded, Duration), LoadError> {
        let look = if self.is_pending(key) { None } else { self.look_up(key).await.ok() };
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

    /// From now on invalidations arrive; what was missed before is in nobody's memory any more.
    pub(super) fn hears(&self) {
        self.near.forget_all();
        self.deaf_since_ms.store(0, Ordering::Release);
    }

    /// From now on none arrive.
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
            self.link().run(&script).await?;
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
        // Not kept is not kept; trouble has been reported.
        drop(self.link().run::<()>(&script).await);
    }

    /// Tells Redis, and through it the others; kept for later when it does not listen.
    async fn forget(&self, key: &CacheKey) {
        let [value, generation] = self.keys(key);
        let mut script = self.scripts.forget.prepare_invoke();
        script.key(value).key(generation).arg(self.ambient.uuid().to_string()).arg(GENERATION_TTL_MS);
        script.arg(self.channel()).arg(key.as_str());
        match self.link().run::<()>(&script).await {
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
            tracing::error!(key = key.as_str(), "too many invalidations wait for redis; this one is lost");
        }
    }

    /// Makes up for invalidations that Redis did not take.
    pub(super) async fn catch_up(&self) {
        let waiting: Vec<CacheKey> = self.pending().iter().cloned().collect();
        for some in waiting.chunks(64) {
            if self.link().health() != Health::Up {
                return;
            }
            join_all(some.iter().map(|key| self.forget(key))).await;
        }
    }

    fn is_pending(&self, key: &CacheKey) -> bool {
        self.pending().contains(key)
    }

    fn pending(&self) -> MutexGuard<'_, HashSet<CacheKey>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self, key: &CacheKey) -> [String; 2] {
        [self.server.key("c", key.as_str()), self.server.key("g", key.as_str())]
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get_or_load(
        &self,
        namespace: &Namespace,
        key: CacheKey,
        load: Loader,
    ) -> Result<Loaded, LoadError> {
        let loading = self.inner.load(namespace, &key, load);
        self.inner.near.get_or_load_for(key.clone(), loading).await
    }

    async fn invalidate(&self, keys: &[CacheKey]) {
        // Redis first: memory forgotten before that could be filled again from there.
        join_all(keys.iter().map(|key| self.inner.forget(key))).await;
        for key in keys {
            self.inner.near.forget(key).await;
        }
    }

    fn health(&self) -> Health {
        let deaf_since = self.inner.deaf_since_ms.load(Ordering::Acquire);
        match self.inner.link().health() {
            Health::Up if deaf_since != 0 => Health::Down {
                since: Timestamp::from_millisecond(deaf_since).unwrap_or(Timestamp::UNIX_EPOCH),
                detail: "changes made by other processes are not heard of".to_owned(),
            },
            of_link => of_link,
        }
    }

    fn stats(&self) -> CacheStats {
        CacheStats {
            local_hits: self.inner.near.counts().1,
            shared_hits: self.inner.shared_hits.load(Ordering::Relaxed),
            loads: self.inner.loads.load(Ordering::Relaxed),
        }
    }
}

/// The first byte tells a value from "there is none".
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
