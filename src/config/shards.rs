//! Settings of order databases as shards.

use std::collections::BTreeMap;

use base::postgres::PostgresConfig;
use secrecy::{ExposeSecret, SecretString};
use store::domain::MerchantId;
use store_postgres::{DatabaseConfig, SHARDS_MAX, ShardMap, ShardingConfig};

use super::{network::PlainHosts, reader::Reader, servers::Postgres};

/// Longest name of a shard; names are logged and stored in a column.
const NAME_MAX: usize = 32;

/// The shards of orders.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shards {
    urls: BTreeMap<String, SecretString>,
    direct_urls: BTreeMap<String, SecretString>,
    replica_urls: BTreeMap<String, Vec<SecretString>>,
    pgbouncer: bool,
    pins: BTreeMap<MerchantId, String>,
}

impl Shards {
    pub(super) fn read(r: &mut Reader, plain: &PlainHosts) -> Self {
        let mut urls = |key: &str| {
            let mut urls = r.secret_texts("shards", key);
            for url in urls.values_mut() {
                *url = plain.postgres(r, ("shards", key), url.expose_secret().to_owned());
            }
            urls
        };
        let (urls, direct_urls) = (urls("urls"), urls("direct_urls"));
        let mut replica_urls = r.secret_lists("shards", "replica_urls");
        for urls in replica_urls.values_mut() {
            *urls = plain.all_postgres(r, ("shards", "replica_urls"), std::mem::take(urls));
        }
        let pgbouncer = r.value("shards", "pgbouncer", false);
        let pins: BTreeMap<String, String> = r.value("shards", "pins", BTreeMap::new());
        let mut parsed = BTreeMap::new();
        for (merchant, shard) in pins {
            match merchant.parse() {
                Ok(merchant) => drop(parsed.insert(merchant, shard)),
                Err(why) => r.fault("shards", "pins", &format!("has \"{merchant}\": {why}")),
            }
        }
        Self { urls, direct_urls, replica_urls, pgbouncer, pins: parsed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    pub(crate) fn sharding(&self) -> ShardingConfig {
        ShardingConfig { pins: self.pins.clone(), ..ShardingConfig::default() }
    }

    /// Each shard with its replicas.
    pub(crate) fn databases(
        &self,
        postgres: &Postgres,
        application_name: &str,
        connections: u32,
    ) -> BTreeMap<String, DatabaseConfig> {
        let with_replicas = |(name, primary): (String, PostgresConfig)| {
            let urls = self.replica_urls.get(&name).map_or(&[][..], Vec::as_slice);
            (name, postgres.with_replicas(primary, urls))
        };
        self.pools(postgres, application_name, connections).into_iter().map(with_replicas).collect()
    }

    /// Pool configuration of each shard with this many connections and the limits of `[postgres]`.
    pub(crate) fn pools(
        &self,
        postgres: &Postgres,
        application_name: &str,
        connections: u32,
    ) -> BTreeMap<String, PostgresConfig> {
        let pool = |name: &String, url: &SecretString| PostgresConfig {
            url: url.clone(),
            direct_url: self.direct_urls.get(name).cloned(),
            pgbouncer: self.pgbouncer,
            ..postgres.pool(application_name, connections)
        };
        self.urls.iter().map(|(name, url)| (name.clone(), pool(name, url))).collect()
    }

    /// Checks rules across settings.
    pub(super) fn check(&self, r: &mut Reader, postgres: &Postgres) {
        for name in self.urls.keys().filter(|name| !is_name(name)) {
            r.fault(
                "shards",
                "urls",
                &format!("has \"{name}\": a name is 1 to {NAME_MAX} of a-z, 0-9, - and _"),
            );
        }
        for (name, url) in &self.urls {
            if url.expose_secret().is_empty() {
                r.fault("shards", "urls", &format!("has no address for \"{name}\""));
            }
            let same = |(other, its): &(&String, &SecretString)| {
                *other < name && its.expose_secret() == url.expose_secret()
            };
            if let Some((other, _)) = self.urls.iter().find(same) {
                r.fault("shards", "urls", &format!("has one address for \"{other}\" and \"{name}\""));
            }
        }
        let strangers = |names: Vec<&String>| {
            names.into_iter().filter(|name| !self.urls.contains_key(*name)).cloned().collect::<Vec<_>>()
        };
        let beside = [
            ("direct_urls", strangers(self.direct_urls.keys().collect())),
            ("replica_urls", strangers(self.replica_urls.keys().collect())),
        ];
        for (key, names) in beside {
            for name in names {
                r.fault("shards", key, &format!("has \"{name}\", which is not in shards.urls"));
            }
        }
        if self.urls.is_empty() {
            if !self.pins.is_empty() {
                r.fault("shards", "pins", "needs shards.urls");
            }
            return;
        }
        if self.urls.len() > SHARDS_MAX {
            r.fault("shards", "urls", &format!("has more than {SHARDS_MAX} shards"));
        } else if let Err(why) = ShardMap::new(self.urls.keys().cloned(), &self.pins) {
            r.fault("shards", "pins", &format!("cannot be: {why}"));
        }
        if postgres.has_replicas() {
            r.fault("postgres", "replica_urls", "has no use with shards.urls: set shards.replica_urls");
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}
