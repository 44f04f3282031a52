//! Redis: one multiplexed connection for all that a process asks, and what to do while there is none.
//!
//! Guarantees: starting needs no server; each question ends within the timeouts; while the server is away nobody
//! waits for it, a task of its own tries every quarter of a second; trouble is reported once when it begins and once
//! when it ends. Does not repeat a question: it may have been carried out.

mod cache;
mod limits;
mod link;
mod listener;
mod sessions;

use std::{sync::Arc, time::Duration};

use base::Ambient;
use secrecy::{ExposeSecret, SecretString};

use self::link::Link;
pub use self::{cache::RedisCache, limits::RedisLimits, sessions::RedisSessions};
use super::Health;

/// How to reach a server and how long to wait for it.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://[user]:password@host:port/database`, `rediss://` for TLS.
    pub url: SecretString,
    /// What all keys and channels begin with.
    pub prefix: String,
    /// Longest wait for an answer.
    pub command_timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

impl RedisConfig {
    /// The defaults for a server nearby.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            prefix: "ow".to_owned(),
            command_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_millis(500),
        }
    }
}

/// The address is none.
#[derive(Debug, thiserror::Error)]
#[error("the Redis address cannot be read; expected redis://user:password@host:port/database")]
pub struct RedisAddressError;

/// A server that may be away. Clones share one connection.
#[derive(Clone)]
pub struct RedisServer {
    link: Arc<Link>,
    prefix: Arc<str>,
}

impl RedisServer {
    /// Connects with the first question. Must be called within a tokio runtime.
    pub fn new(config: &RedisConfig, ambient: Ambient) -> Result<Self, RedisAddressError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may have been faster, which is as well.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        // The parser's error may quote the address, which holds the password.
        let client = redis::Client::open(config.url.expose_secret()).map_err(|_| RedisAddressError)?;
        let link = Link::new(client, config.command_timeout, config.connect_timeout, ambient);
        Ok(Self { link: link.map_err(|_| RedisAddressError)?, prefix: config.prefix.as_str().into() })
    }

    /// Whether it answers, as far as is known.
    pub fn health(&self) -> Health {
        self.link.health()
    }

    /// Asks for a sign of life.
    pub async fn ping(&self) -> Health {
        drop(self.link.ask(&redis::cmd("PING")).await.map(|_: redis::Value| ()));
        self.health()
    }

    /// A key of a kind. The braces keep the keys of one name on one node of a cluster.
    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{{{name}}}", self.prefix)
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisServer").field("health", &self.health()).finish_non_exhaustive()
    }
}
