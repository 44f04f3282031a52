//! Settings of order databases as shards.

use std::collections::BTreeMap;

use base::postgres::PostgresConfig;
use secrecy::{ExposeSecret, SecretString};
use store::{
    domain::MerchantId,
    postgres::sharded::{SHARDS_MAX, ShardMap},
};

use super::{OrderEngine, network::PlainHosts, reader::Reader, servers::Postgres};

/// Longest name of a shard; names are logged and stored in a column.
const NAME_MAX: usize = 32;

/// The shards; empty when orders are kept in one database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shards {
    urls: BTreeMap<String, SecretString>,
    pub(crate) pins: BTreeMap<MerchantId, String>,
}

impl Shards {
    pub(super) fn read(r: &mut Reader, plain: &PlainHosts) -> Self {
        let mut urls = r.secret_texts("shards", "urls");
        for url in urls.values_mut() {
            *url = plain.postgres(r, ("shards", "urls"), url.expose_secret().to_owned());
        }
        let pins: BTreeMap<String, String> = r.value("shards", "pins", BTreeMap::new());
        let mut parsed = BTreeMap::new();
        for (merchant, shard) in pins {
            match merchant.parse() {
                Ok(merchant) => drop(parsed.insert(merchant, shard)),
                Err(why) => r.fault("shards", "pins", &format!("has \"{merchant}\": {why}")),
            }
        }
        Self { urls, pins: parsed }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// Pool configuration of each shard with this many connections and the limits of `[postgres]`.
    pub(crate) fn pools(
        &self,
        postgres: &Postgres,
        application_name: &str,
        connections: u32,
    ) -> BTreeMap<String, PostgresConfig> {
        let pool = |url: &SecretString| PostgresConfig {
            url: url.clone(),
            direct_url: None,
            pgbouncer: false,
            ..postgres.pool(application_name, connections)
        };
        self.urls.iter().map(|(name, url)| (name.clone(), pool(url))).collect()
    }

    /// Checks rules across settings.
    pub(super) fn check(&self, r: &mut Reader, orders: OrderEngine, postgres: &Postgres) {
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
        if orders != OrderEngine::Postgres {
            r.fault("shards", "urls", "needs engines.orders = \"postgres\"");
        }
        if postgres.has_replica() {
            r.fault("postgres", "replica_url", "has no use with shards.urls: leave it empty");
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}
