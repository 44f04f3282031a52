//! The two levels of a [`RedisCache`](super::RedisCache): look-ups, loads and invalidations in Redis and in memory.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base::{Ambient, Timestamp};
use futures::future::join_all;
use redis::Script;
use tokio::time::{Instant, sleep};

use super::{
    RedisServer,
    link::Trouble,
    load_lock::{HOLD, LoadLock},
};
use crate::{
    CacheKey, CacheKind, CacheStats, Health, Loaded, Loader, MemoryCache, MemoryConfig, Namespace, Result,
    stats::CountByKind,
};

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

/// Pauses between two looks for a value that another process loads; jittered.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(32);
/// Longest wait for a value that other processes load: long enough for one that has lost its lock to be replaced.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Returns the value, its generation and its remaining lifetime; without a value, whether this owner has the lock now.
const LOOK: &str = "
    local value, generation = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
    if value then return {value, generation, redis.call('PTTL', KEYS[1]), 0} end
    local is_locked = redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2])
    return {false, generation, 0, is_locked and 1 or 0}";
/// Stores a loaded value unless the key was invalidated since the lookup, and frees the lock if it is this owner's.
const KEEP: &str = "
    if (redis.call('GET', KEYS[2]) or '') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
    if redis.call('GET', KEYS[3]) == ARGV[4] then redis.call('DEL', KEYS[3]) end";
/// Deletes the value and the lock of a load that is older now, sets a new generation and notifies other processes.
const FORGET: &str = "
    redis.call('DEL', KEYS[1], KEYS[3])
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
    shared_hits: CountByKind,
    loads: CountByKind,
}

struct Scripts {
    look: Script,
    keep: Script,
    forget: Script,
}

/// What a look into Redis found.
enum Lookup {
    /// A value, and its remaining lifetime.
    Found(Loaded, Duration),
    /// No value: this process loads it.
    Ours(OwnLoad),
    /// No value: another process loads it.
    Elsewhere { generation: String },
}

/// A load by this process: what its value is stored with.
struct OwnLoad {
    /// That of the key before the load.
    generation: String,
    /// `None` where no process holds the others back.
    lock: Option<LoadLock>,
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
            shared_hits: CountByKind::default(),
            loads: CountByKind::default(),
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

    pub(super) fn stats_of(&self, kind: CacheKind) -> CacheStats {
        CacheStats {
            local_hits: self.near.counts(kind).1,
            shared_hits: self.shared_hits.of(kind),
            loads: self.loads.of(kind),
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
        let own = match look {
            Some(Lookup::Found(value, left)) => {
                self.shared_hits.add(namespace.kind);
                return Ok((value, left.min(self.near_ttl())));
            }
            Some(Lookup::Ours(own)) => Some(own),
            Some(Lookup::Elsewhere { generation }) => Some(OwnLoad { generation, lock: None }),
            None => None,
        };
        self.loads.add(namespace.kind);
        let value = load.await?;
        let whole = self.near.lifetime(namespace, &value);
        if let Some(own) = own {
            self.keep(key, &value, whole, own).await;
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

    /// Looks the value up; while another process loads it, again and again, for [`WAIT_MAX`] at most.
    async fn look_up(&self, key: &CacheKey) -> Result<Lookup, Trouble> {
        let token: Arc<str> = self.ambient.uuid().to_string().into();
        let (gives_up_at, mut pause) = (Instant::now() + WAIT_MAX, PAUSE_MIN);
        loop {
            let lookup = self.look_once(key, &token).await?;
            if !matches!(lookup, Lookup::Elsewhere { .. }) || Instant::now() >= gives_up_at {
                return Ok(lookup);
            }
            sleep(pause + self.ambient.jitter(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn look_once(&self, key: &CacheKey, token: &Arc<str>) -> Result<Lookup, Trouble> {
        let [value, generation, lock] = self.keys(key);
        let mut script = self.scripts.look.prepare_invoke();
        script.key(value).key(generation).key(&lock).arg(&**token).arg(HOLD.as_millis().to_string());
        // From now on: a look that is cancelled or has no answer may have taken the lock.
        let lock = LoadLock::new(self.server.clone(), lock, Arc::clone(token));
        let (value, generation, left, is_locked): (Option<Vec<u8>>, Option<String>, i64, bool) =
            self.server.link.run(&script).await?;
        let generation = generation.unwrap_or_default();
        let Some(bytes) = value else {
            if is_locked {
                return Ok(Lookup::Ours(OwnLoad { generation, lock: Some(lock) }));
            }
            lock.not_held();
            return Ok(Lookup::Elsewhere { generation });
        };
        lock.not_held();
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        Ok(match decode(&bytes) {
            Some(value) => Lookup::Found(value, left),
            None => Lookup::Ours(OwnLoad { generation, lock: None }),
        })
    }

    /// Stores a loaded value and frees the lock of its load.
    async fn keep(&self, key: &CacheKey, value: &Loaded, whole: Duration, own: OwnLoad) {
        let (bytes, millis) = (encode(value), whole.as_millis());
        if bytes.len() > SHARED_BYTES_MAX || millis == 0 {
            return;
        }
        let [value, generation, lock] = self.keys(key);
        let mut script = self.scripts.keep.prepare_invoke();
        script.key(value).key(generation).key(lock);
        script.arg(own.generation).arg(bytes).arg(millis.to_string());
        script.arg(own.lock.as_ref().map_or("", LoadLock::token));
        // A value that is not stored is loaded again later; the link has logged the failure.
        if self.server.link.run::<()>(&script).await.is_ok()
            && let Some(lock) = own.lock
        {
            lock.not_held();
        }
    }

    /// Invalidates in Redis, which notifies other processes; kept for a later try when Redis does not answer.
    pub(super) async fn forget(&self, key: &CacheKey) {
        let [value, generation, lock] = self.keys(key);
        let mut script = self.scripts.forget.prepare_invoke();
        script.key(value).key(generation).key(lock);
        script.arg(self.ambient.uuid().to_string()).arg(GENERATION_TTL_MS);
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

    /// Value, generation and lock of a load.
    fn keys(&self, key: &CacheKey) -> [String; 3] {
        ["c", "g", "o"].map(|kind| self.server.key(kind, key.as_str()))
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
