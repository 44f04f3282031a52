//! Settings of order databases as shards.

use std::{collections::BTreeMap, time::Duration};

use base::postgres::PostgresConfig;
use secrecy::{ExposeSecret, SecretString};
use store::domain::MerchantId;
use store_postgres::{DatabaseConfig, SHARDS_MAX, ShardMap, ShardingConfig};

use super::{
    network::PlainHosts,
    reader::Reader,
    servers::{Postgres, bound_statements, pooled, with_replicas},
};

/// Longest name of a shard; names are logged and stored in a column.
const NAME_MAX: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Shards {
    /// Each with the limits of `[postgres]`; the pools have no name and no size.
    databases: BTreeMap<String, DatabaseConfig>,
    pub(crate) sharding: ShardingConfig,
}

impl Shards {
    pub(super) fn read(r: &mut Reader, plain: &PlainHosts, postgres: &Postgres) -> Self {
        let mut urls = |key: &str| {
            let mut urls = r.secret_texts("shards", key);
            for url in urls.values_mut() {
                plain.postgres(r, ("shards", key), url);
            }
            urls
        };
        let (urls, mut direct_urls) = (urls("urls"), urls("direct_urls"));
        let mut replica_urls = r.secret_lists("shards", "replica_urls");
        for url in replica_urls.values_mut().flatten() {
            plain.postgres(r, ("shards", "replica_urls"), url);
        }
        let pgbouncer = r.value("shards", "pgbouncer", false);
        check_urls(r, &urls);
        let DatabaseConfig { primary: limits, replicas, lag_max } = &postgres.database;
        let database = |(name, url): (String, SecretString)| {
            let direct_url = direct_urls.remove(&name);
            let primary = PostgresConfig { url, direct_url, pgbouncer, ..limits.clone() };
            let replica_urls = replica_urls.remove(&name).unwrap_or_default();
            (name, with_replicas(primary, replica_urls, *lag_max))
        };
        let databases: BTreeMap<_, _> = urls.into_iter().map(database).collect();
        // Those of the shards are taken.
        let strangers = direct_urls.into_keys().map(|name| ("direct_urls", name));
        for (key, name) in strangers.chain(replica_urls.into_keys().map(|name| ("replica_urls", name))) {
            r.fault("shards", key, &format!("has \"{name}\", which is not in shards.urls"));
        }
        if !databases.is_empty() && !replicas.is_empty() {
            r.fault("postgres", "replica_urls", "has no use with shards.urls: set shards.replica_urls");
        }
        let pins = pins(r, &databases);
        Self { databases, sharding: ShardingConfig { pins, ..ShardingConfig::default() } }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.databases.is_empty()
    }

    /// Bounds every statement of every shard.
    pub(super) fn bound_statements(&mut self, most: Duration) {
        for database in self.databases.values_mut() {
            bound_statements(database, most);
        }
    }

    /// Each shard with its replicas, and pools of this many connections.
    pub(crate) fn databases(
        &self,
        application_name: &str,
        connections: u32,
    ) -> BTreeMap<String, DatabaseConfig> {
        let of = |database| pooled(database, application_name, connections);
        self.databases.iter().map(|(name, database)| (name.clone(), of(database))).collect()
    }
}

fn check_urls(r: &mut Reader, urls: &BTreeMap<String, SecretString>) {
    for (name, url) in urls {
        if !is_name(name) {
            let why = format!("has \"{name}\": a name is 1 to {NAME_MAX} of a-z, 0-9, - and _");
            r.fault("shards", "urls", &why);
        }
        if url.expose_secret().is_empty() {
            r.fault("shards", "urls", &format!("has no address for \"{name}\""));
        }
        let same = |(other, its): &(&String, &SecretString)| {
            *other < name && its.expose_secret() == url.expose_secret()
        };
        if let Some((other, _)) = urls.iter().find(same) {
            r.fault("shards", "urls", &format!("has one address for \"{other}\" and \"{name}\""));
        }
    }
}

fn pins(r: &mut Reader, shards: &BTreeMap<String, DatabaseConfig>) -> BTreeMap<MerchantId, String> {
    let mut pins = BTreeMap::new();
    for (merchant, shard) in r.value("shards", "pins", BTreeMap::<String, String>::new()) {
        match merchant.parse() {
            Ok(merchant) => drop(pins.insert(merchant, shard)),
            Err(why) => r.fault("shards", "pins", &format!("has \"{merchant}\": {why}")),
        }
    }
    if shards.is_empty() && !pins.is_empty() {
        r.fault("shards", "pins", "needs shards.urls");
    } else if shards.len() > SHARDS_MAX {
        r.fault("shards", "urls", &format!("has more than {SHARDS_MAX} shards"));
    } else if !shards.is_empty()
        && let Err(why) = ShardMap::new(shards.keys().cloned(), &pins)
    {
        r.fault("shards", "pins", &format!("cannot be: {why}"));
    }
    pins
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}
