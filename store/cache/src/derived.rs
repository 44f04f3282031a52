//! Values made of cached ones, such as rendered pages, in the memory of this process.
//!
//! Guarantees: bounded by bytes; a value is current only while what it was made of is, byte for byte, so that no value
//! needs an invalidation of its own and none outlives one. The former value stays for a time, for readers that cannot
//! have the current one. Does not hold back concurrent makers: making computes, the load before it was shared
//! ([`fetch_encoded`](super::fetch_encoded)).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Timestamp, time::between};

/// Approximate bytes of an entry beside its key, its value and what that was made of.
const ENTRY_BYTES: usize = 160;
/// Steps in which a value's age is kept: it is told in seconds.
const AGE_STEP: Duration = Duration::from_secs(1);

/// Encoded values that another was made of, in the order of their use.
pub type Sources = Vec<Arc<[u8]>>;

/// Values by what asks for them. Clones share it.
#[derive(Clone)]
pub struct DerivedCache<V> {
    entries: moka::future::Cache<Arc<str>, Made<V>>,
    counts: Arc<Counts>,
}

#[derive(Clone)]
struct Made<V> {
    sources: Sources,
    value: V,
    bytes: usize,
    /// When the sources were seen first, to [`AGE_STEP`].
    since: Timestamp,
}

#[derive(Default)]
struct Counts {
    current: AtomicU64,
    made: AtomicU64,
    former: AtomicU64,
}

/// Counts of reads since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DerivedStats {
    /// Answered by the current value.
    pub current: u64,
    /// Values made.
    pub made: u64,
    /// Answered by a former value.
    pub former: u64,
}

impl<V: Clone + Send + Sync + 'static> DerivedCache<V> {
    /// `bytes_max`: bytes of all entries at most. `keep`: age of an entry at most.
    pub fn new(bytes_max: u64, keep: Duration) -> Self {
        let weigh = |key: &Arc<str>, made: &Made<V>| {
            let sources: usize = made.sources.iter().map(|source| source.len()).sum();
            u32::try_from(key.len() + sources + made.bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let entries =
            moka::future::Cache::builder().max_capacity(bytes_max).weigher(weigh).time_to_live(keep);
        Self { entries: entries.build(), counts: Arc::default() }
    }

    /// The value of `key`, if it was made of these sources. `now` is kept as the time when they were seen first, if
    /// they were loaded again since; at most once a second.
    pub async fn current(&self, key: &str, sources: &[Arc<[u8]>], now: Timestamp) -> Option<V> {
        let made = self.entries.get(key).await.filter(|made| made.sources == *sources)?;
        self.counts.current.fetch_add(1, Ordering::Relaxed);
        let value = made.value.clone();
        let is_same_load =
            || made.sources.iter().zip(sources).all(|(known, loaded)| Arc::ptr_eq(known, loaded));
        if between(made.since, now) >= AGE_STEP && !is_same_load() {
            // Loaded again with the same content: only its age is another.
            let made = Made { sources: sources.to_vec(), since: now, ..made };
            self.entries.insert(Arc::from(key), made).await;
        }
        Some(value)
    }

    /// Remembers a value of so many bytes that was made of these sources.
    pub async fn put(&self, key: &str, sources: Sources, value: V, bytes: usize, now: Timestamp) {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        self.entries.insert(Arc::from(key), Made { sources, value, bytes, since: now }).await;
    }

    /// The last value of `key` whatever it was made of, if its sources were seen first at `earliest` or later; with
    /// that time.
    pub async fn former(&self, key: &str, earliest: Timestamp) -> Option<(V, Timestamp)> {
        let made = self.entries.get(key).await.filter(|made| made.since >= earliest)?;
        self.counts.former.fetch_add(1, Ordering::Relaxed);
        Some((made.value, made.since))
    }

    pub fn stats(&self) -> DerivedStats {
        let Counts { current, made, former } = &*self.counts;
        let [current, made, former] = [current, made, former].map(|count| count.load(Ordering::Relaxed));
        DerivedStats { current, made, former }
    }

    /// Bytes stored now, after pending evictions.
    pub async fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks().await;
        self.entries.weighted_size()
    }
}

impl<V: Clone + Send + Sync + 'static> std::fmt::Debug for DerivedCache<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DerivedCache").field("entries", &self.entries.entry_count()).finish_non_exhaustive()
    }
}
