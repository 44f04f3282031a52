//! Cache, rate limits and sessions: in this process and its folder, or on one connection to Redis.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use api::HealthCheck;
use base::Ambient;
use cache::{
    Cache, Limits, LocalLimits, MemoryCache, MemoryConfig, RateLimits, RedisCache, RedisLimits, RedisServer,
    RedisSessions, Sessions, SqliteSessions,
};

use super::folder::unusable;
use crate::{config::CacheEngine, health};

/// Keys of unpaid and declined orders counted in memory at most, some 100 bytes each. Each of them was named by an
/// order that was accepted and is not paid.
const CARD_KEYS_MAX: usize = 262_144;

pub(super) enum CacheSource {
    Memory { folder: PathBuf },
    Redis(RedisServer),
}

pub(super) struct ApiCaches {
    pub(super) cache: Arc<dyn Cache>,
    /// See [`api::ApiParts`], as the next.
    pub(super) shared_limits: Option<Arc<dyn RateLimits>>,
    pub(super) card_limits: Arc<dyn RateLimits>,
    /// `None` without a server.
    pub(super) check: Option<HealthCheck>,
}

impl CacheSource {
    pub(super) fn open(engine: &CacheEngine, ambient: &Ambient) -> anyhow::Result<Self> {
        Ok(match engine {
            CacheEngine::Memory { folder } => Self::Memory { folder: folder.clone() },
            CacheEngine::Redis(config) => Self::Redis(RedisServer::new(config, ambient.clone())?),
        })
    }

    pub(super) fn api(&self, near: MemoryConfig, ambient: &Ambient) -> ApiCaches {
        // This process also counts while Redis is unavailable.
        let local = LocalLimits::new(CARD_KEYS_MAX, ambient.clone());
        match self {
            Self::Memory { .. } => ApiCaches {
                cache: Arc::new(MemoryCache::new(near, ambient.clone())),
                shared_limits: None,
                card_limits: Arc::new(local),
                check: None,
            },
            Self::Redis(server) => {
                let cache: Arc<dyn Cache> = Arc::new(RedisCache::new(server.clone(), near, ambient.clone()));
                let shared = RedisLimits::new(server.clone());
                ApiCaches {
                    check: Some(health::cache(Arc::clone(&cache))),
                    cache,
                    shared_limits: Some(Arc::new(shared.clone())),
                    card_limits: Arc::new(Limits::new(shared, local)),
                }
            }
        }
    }

    pub(super) async fn sessions(&self, ambient: &Ambient) -> anyhow::Result<Arc<dyn Sessions>> {
        Ok(match self {
            Self::Memory { folder } => Arc::new(in_file(folder, ambient).await?),
            Self::Redis(server) => Arc::new(RedisSessions::new(server.clone(), ambient.clone())),
        })
    }
}

/// Several processes of one machine may share the file, so a lock serialises its creation.
async fn in_file(folder: &Path, ambient: &Ambient) -> anyhow::Result<SqliteSessions> {
    let turn = File::create(folder.join("sessions.lock")).with_context(|| unusable(folder))?;
    let turn = tokio::task::spawn_blocking(move || turn.lock().map(|()| turn)).await?;
    let _turn = turn.with_context(|| unusable(folder))?;
    Ok(SqliteSessions::open(&folder.join("sessions.db"), ambient.clone()).await?)
}
