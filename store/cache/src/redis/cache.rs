//! Two-level cache: the memory of this process over a shared Redis.
//!
//! Guarantees, beyond [`Cache`]: a slow load never overwrites an invalidation that happened meanwhile, in either level:
//! Redis stores a loaded value only if the generation of its key is still the one that the lookup before the load
//! returned. Invalidations that Redis did not accept are kept, up to a bound, and sent later; until then this process
//! does not read those keys from Redis. Values in memory have a short lifetime, and a very short one while
//! invalidations of other processes cannot be received. While Redis answers, one process loads for all, as long as a
//! load takes no longer than its lock lasts ([`super::load_lock`]); else one load per key and process.

use std::sync::Arc;

use async_trait::async_trait;
use base::Ambient;
use futures::future::join_all;

use super::{RedisServer, levels::CacheLevels, listener};
use crate::{
    Cache, CacheKey, CacheKind, CacheStats, Health, Loaded, Loader, MemoryConfig, Namespace, Result,
};

/// A [`Cache`] over memory and Redis. Clones share it.
#[derive(Clone)]
pub struct RedisCache {
    inner: Arc<CacheLevels>,
}

impl RedisCache {
    /// Starts listening for invalidations, until the last clone is dropped. Must be called within a tokio runtime.
    pub fn new(server: RedisServer, near: MemoryConfig, ambient: Ambient) -> Self {
        let inner = Arc::new(CacheLevels::new(server, near, ambient));
        tokio::spawn(listener::run(Arc::downgrade(&inner)));
        Self { inner }
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get_or_load(&self, namespace: &Namespace, key: CacheKey, load: Loader) -> Result<Loaded> {
        let loading = self.inner.load(namespace, &key, load);
        self.inner.near.get_or_load_for(namespace.kind, key.clone(), loading).await
    }

    async fn invalidate(&self, keys: &[CacheKey]) {
        // Redis first: memory that is emptied before could be refilled from the stale value there.
        join_all(keys.iter().map(|key| self.inner.forget(key))).await;
        for key in keys {
            self.inner.near.forget(key).await;
        }
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn stats_of(&self, kind: CacheKind) -> CacheStats {
        self.inner.stats_of(kind)
    }
}
