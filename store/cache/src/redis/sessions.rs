//! Sessions in Redis. A value is its version, eight bytes, and the data.

use std::time::Duration;

use async_trait::async_trait;
use base::Ambient;
use redis::Script;

use super::{RedisServer, link::Trouble};
use crate::{SessionError, SessionKey, Sessions, StoredSession, sessions::check_size};

const VERSION_BYTES: usize = 8;

const REPLACE: &str = "
    local there = redis.call('GET', KEYS[1])
    if (there and string.sub(there, 1, 8) or '') ~= ARGV[1] then return 0 end
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    return 1";

/// [`Sessions`] on a server. Clones share it.
///
/// A session is as durable as the server: that needs an append-only file and `maxmemory-policy noeviction`, see
/// `docs/CACHE.md`.
#[derive(Clone)]
pub struct RedisSessions {
    server: RedisServer,
    ambient: Ambient,
    replace: std::sync::Arc<Script>,
}

impl From<Trouble> for SessionError {
    fn from(trouble: Trouble) -> Self {
        if trouble.class.is_transient() {
            Self::Unavailable { detail: trouble.detail, since: Some(trouble.since) }
        } else {
            Self::Defect { detail: trouble.detail }
        }
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX.unsigned_abs() / 4)
}

impl RedisSessions {
    /// Stores over the shared connection of `server`.
    pub fn new(server: RedisServer, ambient: Ambient) -> Self {
        Self { server, ambient, replace: std::sync::Arc::new(Script::new(REPLACE)) }
    }

    fn key(&self, key: &SessionKey) -> String {
        self.server.key("s", key.as_str())
    }

    fn versioned(&self, data: &[u8]) -> (i64, Vec<u8>) {
        let mut version = [0; VERSION_BYTES];
        self.ambient.fill(&mut version);
        (i64::from_le_bytes(version), [version.as_slice(), data].concat())
    }
}

#[async_trait]
impl Sessions for RedisSessions {
    async fn put(&self, key: &SessionKey, data: &[u8], ttl: Duration) -> Result<i64, SessionError> {
        check_size(data)?;
        let (version, value) = self.versioned(data);
        let mut set = redis::cmd("SET");
        set.arg(self.key(key)).arg(value).arg("PX").arg(millis(ttl));
        self.server.link.ask::<()>(&set).await?;
        Ok(version)
    }

    async fn replace(
        &self,
        key: &SessionKey,
        expected: Option<i64>,
        data: &[u8],
        ttl: Duration,
    ) -> Result<Option<i64>, SessionError> {
        check_size(data)?;
        let (version, value) = self.versioned(data);
        let expected = expected.map_or(Vec::new(), |version| version.to_le_bytes().to_vec());
        let mut replace = self.replace.prepare_invoke();
        replace.key(self.key(key)).arg(expected).arg(value).arg(millis(ttl));
        let done: bool = self.server.link.run(&replace).await?;
        Ok(done.then_some(version))
    }

    async fn get(&self, key: &SessionKey) -> Result<Option<StoredSession>, SessionError> {
        let value: Option<Vec<u8>> = self.server.link.ask(redis::cmd("GET").arg(self.key(key))).await?;
        Ok(value.and_then(|value| {
            let (version, data) = value.split_first_chunk::<VERSION_BYTES>()?;
            Some(StoredSession { data: data.to_vec(), version: i64::from_le_bytes(*version) })
        }))
    }

    async fn delete(&self, key: &SessionKey) -> Result<bool, SessionError> {
        Ok(self.server.link.ask(redis::cmd("DEL").arg(self.key(key))).await?)
    }

    async fn expire(&self, _limit: u32) -> Result<u64, SessionError> {
        Ok(0)
    }
}
