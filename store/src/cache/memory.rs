//! The cache within one process: the whole cache of the embedded mode, the near level of the distributed one.
//!
//! Guarantees: bounded by bytes; what is asked for often stays (`TinyLFU`). A value is kept under its key and the
//! generation of that key, which an invalidation raises: a load that began before it can finish, but what it found is
//! looked for by nobody who asks afterwards. Generations are kept for groups of keys in a table of fixed size, so an
//! invalidation costs a few neighbours a load and the table no memory.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base::Ambient;

use super::{Cache, CacheKey, CacheStats, Health, LoadError, Loaded, Loader, Namespace};

/// Groups of keys that are forgotten together.
const GROUPS: usize = 4096;
/// Bytes that an entry takes beside key and value, roughly.
const ENTRY_BYTES: usize = 128;

/// How much to keep.
#[derive(Debug, Clone, Copy)]
pub struct MemoryConfig {
    /// Bytes of keys and values at most.
    pub bytes_max: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { bytes_max: 16 * 1024 * 1024 }
    }
}

/// A [`Cache`] in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryCache {
    entries: moka::future::Cache<(CacheKey, u64), Entry>,
    groups: Arc<[AtomicU64]>,
    hasher: RandomState,
    ambient: Ambient,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    asked: AtomicU64,
    loads: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    value: Loaded,
    keep: Duration,
}

struct KeepFor;

impl moka::Expiry<(CacheKey, u64), Entry> for KeepFor {
    fn expire_after_create(&self, _key: &(CacheKey, u64), entry: &Entry, _now: Instant) -> Option<Duration> {
        Some(entry.keep)
    }
}

impl MemoryCache {
    /// An empty cache.
    pub fn new(config: MemoryConfig, ambient: Ambient) -> Self {
        let weigh = |key: &(CacheKey, u64), entry: &Entry| {
            let bytes =
                key.0.as_str().len() + entry.value.as_ref().map_or(0, |value| value.len()) + ENTRY_BYTES;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let entries = moka::future::Cache::builder()
            .max_capacity(config.bytes_max)
            .weigher(weigh)
            .expire_after(KeepFor);
        Self {
            entries: entries.build(),
            groups: (0..GROUPS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            ambient,
            counts: Arc::default(),
        }
    }

    /// Bytes held now, after tidying up.
    pub async fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks().await;
        self.entries.weighted_size()
    }

    /// The value, or else what `load` answers together with how long to keep it.
    pub(super) async fn get_or_load_for(
        &self,
        key: CacheKey,
        load: impl Future<Output = Result<(Loaded, Duration), LoadError>>,
    ) -> Result<Loaded, LoadError> {
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
        let generation = self.group(&key).load(Ordering::Acquire);
        let loading = async {
            self.counts.loads.fetch_add(1, Ordering::Relaxed);
            load.await.map(|(value, keep)| Entry { value, keep })
        };
        let entry = self.entries.try_get_with((key, generation), loading).await;
        // Errors are shared twice over: by the waiters here and by the type.
        entry.map(|entry| entry.value).map_err(|error: Arc<LoadError>| Arc::clone(error.as_ref()))
    }

    /// How long to keep a value, with its jitter.
    pub(super) fn lifetime(&self, namespace: &Namespace, value: &Loaded) -> Duration {
        let whole = if value.is_some() { namespace.ttl } else { namespace.negative_ttl };
        whole.saturating_sub(self.ambient.jitter(whole / 10))
    }

    pub(super) async fn forget(&self, key: &CacheKey) {
        let before = self.group(key).fetch_add(1, Ordering::AcqRel);
        // Nobody asks for it any more; this frees its memory.
        self.entries.invalidate(&(key.clone(), before)).await;
    }

    /// Forgets everything, for whoever may have missed an invalidation.
    #[cfg(feature = "redis")]
    pub(super) fn forget_all(&self) {
        for group in self.groups.iter() {
            group.fetch_add(1, Ordering::AcqRel);
        }
        self.entries.invalidate_all();
    }

    /// How often a load was needed at this level, and how often not.
    pub(super) fn counts(&self) -> (u64, u64) {
        let loads = self.counts.loads.load(Ordering::Relaxed);
        (loads, self.counts.asked.load(Ordering::Relaxed).saturating_sub(loads))
    }

    fn group(&self, key: &CacheKey) -> &AtomicU64 {
        let hash = self.hasher.hash_one(key);
        &self.groups[usize::try_from(hash % GROUPS as u64).unwrap_or(0)]
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get_or_load(
        &self,
        namespace: &Namespace,
        key: CacheKey,
        load: Loader,
    ) -> Result<Loaded, LoadError> {
        let load = async {
            let value = load.await?;
            let keep = self.lifetime(namespace, &value);
            Ok((value, keep))
        };
        self.get_or_load_for(key, load).await
    }

    async fn invalidate(&self, keys: &[CacheKey]) {
        for key in keys {
            self.forget(key).await;
        }
    }

    fn health(&self) -> Health {
        Health::Up
    }

    fn stats(&self) -> CacheStats {
        let (loads, local_hits) = self.counts();
        CacheStats { local_hits, shared_hits: 0, loads }
    }
}

impl std::fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCache").field("entries", &self.entries.entry_count()).finish_non_exhaustive()
    }
}
