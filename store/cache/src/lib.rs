#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

mod combined_limits;
mod limits;
mod local_limits;
mod memory;
mod redis;
mod sessions;
mod sqlite_sessions;

use std::{error::Error, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Timestamp;
use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

pub use self::redis::{RedisCache, RedisConfig, RedisLimits, RedisServer, RedisSessions};
pub use self::{
    combined_limits::Limits,
    limits::{Claim, Decision, Lease, LimitError, Quota, RateLimits, Refused},
    local_limits::LocalLimits,
    memory::{MemoryCache, MemoryConfig},
    sessions::{SESSION_BYTES_MAX, SessionError, SessionKey, Sessions, StoredSession},
    sqlite_sessions::SqliteSessions,
};

/// A family of cached values. Raise the version whenever the stored shape changes: old and new processes then run side
/// by side without reading each other's values.
#[derive(Debug, Clone, Copy)]
pub struct Namespace {
    /// The name of the family, without `:`.
    pub name: &'static str,
    /// The version of the stored shape.
    pub version: u32,
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

/// Counts of reads since the start, by the level that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Answered by this process.
    pub local_hits: u64,
    /// Answered by the shared level.
    pub shared_hits: u64,
    /// Answered by a loader.
    pub loads: u64,
}

/// A cache of values read from a store.
///
/// Guarantees of every engine: of all concurrent reads of one key in one process, one loads and the others wait for it
/// (another takes over when it is cancelled). A read that begins after [`Cache::invalidate`] has returned does not see
/// a value loaded before it, in this process; in others a moment later, or when the value expires. Failures of a loader
/// are not cached. Failures of the cache are only logged.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// The encoded value, from the cache or else from the loader. Most callers use [`fetch`].
    async fn get_or_load(&self, namespace: &Namespace, key: CacheKey, load: Loader) -> Result<Loaded>;

    /// Forgets values; called after the commit of every write that changes them.
    async fn invalidate(&self, keys: &[CacheKey]);

    /// The health, for reports; readiness ignores it, as a cache is optional.
    fn health(&self) -> Health;

    fn stats(&self) -> CacheStats;
}

/// The error of a failed fetch; only a loader fails, or a cached value cannot be decoded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the value could not be loaded")]
pub struct FetchError(#[source] pub LoadError);

/// The value of `id`, from the cache or else from `load`; `None` is cached too.
pub async fn fetch<T, E, F>(
    cache: &dyn Cache,
    namespace: &Namespace,
    id: &str,
    load: impl FnOnce() -> F + Send + 'static,
) -> Result<Option<T>, FetchError>
where
    T: Serialize + DeserializeOwned + Send,
    E: Error + Send + Sync + 'static,
    F: Future<Output = Result<Option<T>, E>> + Send,
{
    let loader = async move {
        let value = load().await.map_err(|error| Arc::new(error) as LoadError)?;
        let encode =
            |value: T| serde_json::to_vec(&value).map(Arc::from).map_err(|e| Arc::new(e) as LoadError);
        value.map(encode).transpose()
    };
    let key = namespace.key(id);
    let loaded = cache.get_or_load(namespace, key.clone(), loader.boxed()).await.map_err(FetchError)?;
    let Some(bytes) = loaded else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            // The shape changed without a new version, or the key was written by another program. The next read reloads
            // it.
            tracing::error!(key = key.as_str(), %error, "cached value unreadable");
            cache.invalidate(std::slice::from_ref(&key)).await;
            Err(FetchError(Arc::new(error)))
        }
    }
}
