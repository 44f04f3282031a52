//! Redis: one multiplexed connection for all commands of a process, and its behaviour during an outage.
//!
//! Guarantees: starting needs no server; each command ends within the timeouts; during an outage no caller waits for
//! the server, as a task reconnects every 250 ms; an outage is logged once when it begins and once when it ends. Does
//! not repeat a command: it may have been executed.

mod cache;
mod levels;
mod limits;
mod link;
mod listener;
mod load_lock;
mod sessions;

use std::{sync::Arc, time::Duration};

use base::Ambient;
use secrecy::{ExposeSecret, SecretString};

use self::link::Link;
pub use self::{cache::RedisCache, limits::RedisLimits, sessions::RedisSessions};
use super::Health;

/// The address of a server, and its timeouts.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://[user]:password@host:port/database`, `rediss://` for TLS.
    pub url: SecretString,
    /// Prefix of all keys and channels.
    pub prefix: String,
    /// Longest wait for a response.
    pub command_timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

impl RedisConfig {
    /// The default timeouts, for a server in the same network.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            prefix: "ow".to_owned(),
            command_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_millis(500),
        }
    }
}

/// The error for an address that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("the Redis address cannot be read; expected redis://user:password@host:port/database")]
pub struct RedisAddressError;

/// A server that may be unreachable. Clones share one connection.
#[derive(Clone)]
pub struct RedisServer {
    link: Arc<Link>,
    prefix: Arc<str>,
}

impl RedisServer {
    /// Connects with the first command. Must be called within a tokio runtime.
    pub fn new(config: &RedisConfig, ambient: Ambient) -> Result<Self, RedisAddressError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails where another caller has installed a provider meanwhile, which serves as well.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        // The parser's error may quote the address, which holds the password.
        let client = redis::Client::open(config.url.expose_secret()).map_err(|_| RedisAddressError)?;
        let link = Link::new(client, config.command_timeout, config.connect_timeout, ambient);
        Ok(Self { link: link.map_err(|_| RedisAddressError)?, prefix: config.prefix.as_str().into() })
    }

    /// The health as last observed, without a command.
    pub fn health(&self) -> Health {
        self.link.health()
    }

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
