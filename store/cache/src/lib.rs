#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

mod combined_limits;
mod derived;
mod limits;
mod local_limits;
mod memory;
mod read_through;
mod redis;
mod sessions;
mod sqlite_sessions;
mod stats;

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Timestamp;
use futures::future::BoxFuture;

pub use self::redis::{RedisCache, RedisConfig, RedisLimits, RedisServer, RedisSessions};
pub use self::{
    combined_limits::Limits,
    derived::{DerivedCache, DerivedStats, Sources},
    limits::{Claim, Decision, Lease, LimitError, Quota, RateLimits, Refused},
    local_limits::LocalLimits,
    memory::{MemoryCache, MemoryConfig},
    read_through::{Encoded, FetchError, fetch, fetch_encoded},
    sessions::{SESSION_BYTES_MAX, SessionError, SessionKey, Sessions, StoredSession},
    sqlite_sessions::SqliteSessions,
    stats::{CacheKind, CacheStats},
};

/// A family of cached values. Raise the version whenever the stored shape changes: old and new processes then run side
/// by side without reading each other's values.
#[derive(Debug, Clone, Copy)]
pub struct Namespace {
    /// The name of the family, without `:`.
    pub name: &'static str,
    /// The version of the stored shape.
    pub version: u32,
    /// What its reads are counted as.
    pub kind: CacheKind,
    /// Longest lifetime of a value; each gets up to a tenth less, so that they do not all expire together.
    pub ttl: Duration,
    /// The same for a cached absence.
    pub negative_ttl: Duration,
}

impl Namespace {
    /// The key of a value. `id` contains everything the value depends on, the merchant first.
    pub fn key(&self, id: &str) -> CacheKey {
        CacheKey(Arc::from(format!("{}:v{}:{id}", self.name, self.version)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey(Arc<str>);

impl CacheKey {
    /// The text stored in the engines.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An error of a loader; shared by all callers that waited for the load.
pub type LoadError = Arc<dyn Error + Send + Sync>;
type Result<T, E = LoadError> = std::result::Result<T, E>;
/// An encoded value, or `None` for a cached absence.
pub type Loaded = Option<Arc<[u8]>>;
/// Reads a value from its store of record.
pub type Loader = BoxFuture<'static, Result<Loaded>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All levels answer.
    Up,
    /// The shared level does not answer: reads go to the loader.
    Down {
        since: Timestamp,
        /// The cause, without secrets.
        detail: String,
    },
}

/// A cache of values read from a store.
///
/// Guarantees of every engine: of all concurrent reads of one key in one process, one loads and the others wait for it
/// (another takes over when it is cancelled); while a shared level answers, of those in all processes. A read that
/// begins after [`Cache::invalidate`] has returned does not see a value loaded before it, in this process; in others a
/// moment later, or when the value expires. Failures of a loader are not cached. Failures of the cache are only logged.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// The encoded value, from the cache or else from the loader. Most callers use [`fetch`].
    async fn get_or_load(&self, namespace: &Namespace, key: CacheKey, load: Loader) -> Result<Loaded>;

    /// Forgets values; called after the commit of every write that changes them.
    async fn invalidate(&self, keys: &[CacheKey]);

    /// The health, for reports; readiness ignores it, as a cache is optional.
    fn health(&self) -> Health;

    /// Counts of the reads of one kind.
    fn stats_of(&self, kind: CacheKind) -> CacheStats;

    /// Counts of all reads.
    fn stats(&self) -> CacheStats {
        CacheKind::ALL.into_iter().map(|kind| self.stats_of(kind)).sum()
    }
}
