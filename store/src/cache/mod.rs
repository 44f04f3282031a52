//! What is kept beside the stores: cached reads, sessions, counters of rate limits.
//!
//! Guarantees: a cache never decides and never fails, without it everything is merely slower; a session store says when
//! it cannot answer; a limit decides even when its server is away. The durable truth stands elsewhere.
//!
//! [`Cache`] has two engines, [`MemoryCache`] and `RedisCache` (the first as the near level of the second);
//! [`Sessions`] has `RedisSessions` and [`SqliteSessions`]; [`RateLimits`] has `RedisLimits` and [`LocalLimits`], and
//! `Limits` puts the two together. Each contract has one suite in `store::conformance`. See `docs/CACHE.md`.

mod limits;
mod local_limits;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod sessions;
mod sqlite_sessions;

use std::{error::Error, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Timestamp;
use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

#[cfg(feature = "redis")]
pub use self::redis::{RedisCache, RedisConfig, RedisLimits, RedisServer, RedisSessions};
pub use self::{
    limits::{Decision, LimitError, Limits, Quota, RateLimits},
    local_limits::LocalLimits,
    memory::{MemoryCache, MemoryConfig},
    sessions::{SESSION_BYTES_MAX, SessionError, SessionKey, Sessions, StoredSession},
    sqlite_sessions::SqliteSessions,
};

/// A family of cached values. Raise the version whenever the stored shape changes: old and new processes then live
/// side by side without reading each other's values.
#[derive(Debug, Clone, Copy)]
pub struct Namespace {
    /// Names the family, without `:`.
    pub name: &'static str,
    /// The version of its shape.
    pub version: u32,
    /// The longest that a value lives; each gets up to a tenth less, so that they do not all run out together.
    pub ttl: Duration,
    /// The same for "there is none".
    pub negative_ttl: Duration,
}

impl Namespace {
    /// The key of a value. `id` holds everything the value depends on, the merchant first.
    pub fn key(&self, id: &str) -> CacheKey {
        CacheKey(Arc::from(format!("{}:v{}:{id}", self.name, self.version)))
    }
}

/// Names a cached value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey(Arc<str>);

impl CacheKey {
    /// As it stands in the engines.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What went wrong while loading; shared by all who waited for it.
pub type LoadError = Arc<dyn Error + Send + Sync>;
/// An encoded value, or "there is none".
pub type Loaded = Option<Arc<[u8]>>;
/// Reads a value from where it truly stands.
pub type Loader = BoxFuture<'static, Result<Loaded, LoadError>>;

/// How a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All levels answer.
    Up,
    /// The shared level does not: reads go to the loader.
    Down {
        /// Since when.
        since: Timestamp,
        /// What is known, without secrets.
        detail: String,
    },
}

/// How often what happened, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Answered by this process.
    pub local_hits: u64,
    /// Answered by the shared level.
    pub shared_hits: u64,
    /// Answered by a loader.
    pub loads: u64,
}

/// Keeps what was read from a store for a while.
///
/// Promises of every engine: of all who ask for one key at a time in one process, one loads and the others wait for it
/// (another takes over when it goes away). A read that begins after [`Cache::invalidate`] has returned does not see
/// what was loaded before it, in this process; in others a moment later, or when the value runs out. Failures of a
/// loader are not kept. Failures of the cache are nobody's but the log's.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// The value, from the cache or else from the loader, encoded. Most callers want [`fetch`].
    async fn get_or_load(
        &self,
        namespace: &Namespace,
        key: CacheKey,
        load: Loader,
    ) -> Result<Loaded, LoadError>;

    /// Forgets values; called after the commit of every write that changes them.
    async fn invalidate(&self, keys: &[CacheKey]);

    /// How it is; for readiness it never counts, see the contract.
    fn health(&self) -> Health;

    /// Counters for metrics.
    fn stats(&self) -> CacheStats;
}

/// Why a fetch failed: only ever the loader.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the value could not be loaded")]
pub struct FetchError(#[source] pub LoadError);

/// The value of `id`, from the cache or else from `load`; `None` is kept too.
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
            // The shape changed without its version, or somebody wrote there. The next read loads it afresh.
            tracing::error!(key = key.as_str(), %error, "a cached value cannot be read");
            cache.invalidate(std::slice::from_ref(&key)).await;
            Err(FetchError(Arc::new(error)))
        }
    }
}
