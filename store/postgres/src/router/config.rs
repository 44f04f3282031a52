//! Servers of the order store, and how merchants are shared among them.

use std::{collections::BTreeMap, time::Duration};

use base::postgres::{OpenError, PostgresConfig};
use store::domain::MerchantId;

use super::shard_map::MapError;

/// Lifetime of a cached location of a merchant.
pub const LOCATED_FOR: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The server that is written.
    pub primary: PostgresConfig,
    /// Streaming replicas of it, each the server itself or a pooler before it.
    pub replicas: Vec<PostgresConfig>,
    /// Lag above which a replica is not read.
    pub lag_max: Duration,
}

impl From<PostgresConfig> for DatabaseConfig {
    fn from(primary: PostgresConfig) -> Self {
        Self { primary, replicas: Vec::new(), lag_max: Duration::ZERO }
    }
}

/// How merchants are shared among databases.
#[derive(Debug, Clone)]
pub struct ShardingConfig {
    /// Shards of some merchants, by name.
    pub pins: BTreeMap<MerchantId, String>,
    /// Lifetime of a cached location; a migration must wait longer than the longest lifetime of any process.
    pub located_for: Duration,
}

impl Default for ShardingConfig {
    fn default() -> Self {
        Self { pins: BTreeMap::new(), located_for: LOCATED_FOR }
    }
}

/// The error for databases that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardsError {
    #[error(transparent)]
    Map(#[from] MapError),
    /// The database of the shard cannot be opened.
    #[error("shard {shard}")]
    Open {
        shard: String,
        #[source]
        source: OpenError,
    },
}
