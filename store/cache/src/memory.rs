//! The cache within one process: the whole cache of the embedded mode, the near level of the distributed one.
//!
//! Guarantees: bounded by bytes; frequently read values stay (`TinyLFU`). A value is stored under its key and the
//! generation of that key, which an invalidation raises: a load that began earlier can finish, but later reads do not
//! see its value. Generations are kept for groups of keys in a table of fixed size, so an invalidation costs a reload
//! of a few other keys, and the table does not grow.

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

use super::{
    Cache, CacheKey, CacheKind, CacheStats, Health, LoadError, Loaded, Loader, Namespace, Result,
    stats::CountByKind,
};

/// Groups of keys that are invalidated together.
const GROUPS: usize = 4096;
/// Approximate bytes of an entry beside key and value.
const ENTRY_BYTES: usize = 128;

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
    asked: CountByKind,
    loads: CountByKind,
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

    /// Bytes stored now, after pending evictions.
    pub async fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks().await;
        self.entries.weighted_size()
    }

    /// The cached value, or else the one that `load` returns together with its lifetime.
    pub(super) async fn get_or_load_for(
        &self,
        kind: CacheKind,
        key: CacheKey,
        load: impl Future<Output = Result<(Loaded, Duration)>>,
    ) -> Result<Loaded> {
        self.counts.asked.add(kind);
        let generation = self.group(&key).load(Ordering::Acquire);
        let loading = async {
            self.counts.loads.add(kind);
            load.await.map(|(value, keep)| Entry { value, keep })
        };
        let entry = self.entries.try_get_with((key, generation), loading).await;
        // The waiters share one error (`Arc`), and `LoadError` is itself shared: unwrap the outer one.
        entry.map(|entry| entry.value).map_err(|error: Arc<LoadError>| Arc::clone(error.as_ref()))
    }

    /// The lifetime of a value, with its jitter.
    pub(super) fn lifetime(&self, namespace: &Namespace, value: &Loaded) -> Duration {
        let whole = if value.is_some() { namespace.ttl } else { namespace.negative_ttl };
        whole.saturating_sub(self.ambient.jitter(whole / 10))
    }

    pub(super) async fn forget(&self, key: &CacheKey) {
        let before = self.group(key).fetch_add(1, Ordering::AcqRel);
        // Later reads use the new generation; this frees the memory of the old entry.
        self.entries.invalidate(&(key.clone(), before)).await;
    }

    /// Forgets every value, for a process that may have missed an invalidation.
    pub(super) fn forget_all(&self) {
        for group in self.groups.iter() {
            group.fetch_add(1, Ordering::AcqRel);
        }
        self.entries.invalidate_all();
    }

    /// Loads at this level, and reads answered without one.
    pub(super) fn counts(&self, kind: CacheKind) -> (u64, u64) {
        let loads = self.counts.loads.of(kind);
        (loads, self.counts.asked.of(kind).saturating_sub(loads))
    }

    fn group(&self, key: &CacheKey) -> &AtomicU64 {
        let hash = self.hasher.hash_one(key);
        &self.groups[usize::try_from(hash % GROUPS as u64).unwrap_or(0)]
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get_or_load(&self, namespace: &Namespace, key: CacheKey, load: Loader) -> Result<Loaded> {
        let load = async {
            let value = load.await?;
            let keep = self.lifetime(namespace, &value);
            Ok((value, keep))
        };
        self.get_or_load_for(namespace.kind, key, load).await
    }

    async fn invalidate(&self, keys: &[CacheKey]) {
        for key in keys {
            self.forget(key).await;
        }
    }

    fn health(&self) -> Health {
        Health::Up
    }

    fn stats_of(&self, kind: CacheKind) -> CacheStats {
        let (loads, local_hits) = self.counts(kind);
        CacheStats { local_hits, shared_hits: 0, loads }
    }
}

impl std::fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCache").field("entries", &self.entries.entry_count()).finish_non_exhaustive()
    }
}
