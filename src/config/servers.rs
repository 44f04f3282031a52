//! Settings of PostgreSQL, Cassandra and Redis, as the types of the crates that use them.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use base::postgres::PostgresConfig;
use cache::RedisConfig;
use secrecy::{ExposeSecret, SecretString};
use store_cassandra::{CassandraConfig, CassandraLogin, CassandraTls, ListingReads, MoneyScope};
use store_postgres::{DatabaseConfig, partitions::Family};
use workers::verify::Retention;

use super::{
    network::{PlainHosts, host_of_node},
    reader::Reader,
};

/// Connections of one pool at most; a server has a few hundred in all.
const CONNECTIONS_MAX: u32 = 1_000;
const TIMEOUT_MS_MAX: u64 = 600_000;
const MONTHS_MAX: u32 = 1_200;
/// A month of retention. Partitions are dropped whole, so a day more or less does not matter.
const MONTH: Duration = Duration::from_hours(31 * 24);

#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    /// The pools have no name and no size.
    pub(super) database: DatabaseConfig,
    pub(crate) api_connections: u32,
    pub(crate) worker_connections: u32,
    pub(crate) relay_connections: u32,
    /// Families of partitions that are not kept for ever.
    pub(crate) keep: Vec<(Family, Duration)>,
    pub(crate) retention: Retention,
}

impl Postgres {
    pub(super) fn read(r: &mut Reader, plain: &PlainHosts) -> Self {
        let [url, direct_url] = ["url", "direct_url"].map(|key| {
            let mut url: SecretString = r.text("postgres", key).into();
            plain.postgres(r, ("postgres", key), &mut url);
            url
        });
        let mut replica_urls = r.secrets("postgres", "replica_urls");
        for url in &mut replica_urls {
            plain.postgres(r, ("postgres", "replica_urls"), url);
        }
        let connections = |r: &mut Reader, key: &str| r.within("postgres", key, 1..=CONNECTIONS_MAX);
        let primary = PostgresConfig {
            direct_url: Some(direct_url).filter(|url| !url.expose_secret().is_empty()),
            acquire_timeout: millis(r, "postgres", "acquire_timeout_ms"),
            statement_timeout: millis(r, "postgres", "statement_timeout_ms"),
            lock_timeout: millis(r, "postgres", "lock_timeout_ms"),
            idle_in_transaction_timeout: millis(r, "postgres", "idle_in_transaction_timeout_ms"),
            pgbouncer: r.value("postgres", "pgbouncer", false),
            ..PostgresConfig::new(url, "")
        };
        let lag_max = millis(r, "postgres", "replica_lag_max_ms");
        let keep = |r: &mut Reader, key: &str| {
            let months = r.within("postgres", key, 0..=MONTHS_MAX);
            (months > 0).then(|| MONTH * months)
        };
        let (orders, outbox) = (keep(r, "keep_orders_months"), keep(r, "keep_outbox_months"));
        let attempts = keep(r, "keep_webhook_attempts_months");
        let kept = [(Family::Orders, orders), (Family::Outbox, outbox), (Family::WebhookAttempts, attempts)];
        Self {
            database: with_replicas(primary, replica_urls, lag_max),
            api_connections: connections(r, "api_connections"),
            worker_connections: connections(r, "worker_connections"),
            relay_connections: connections(r, "relay_connections"),
            keep: kept.into_iter().filter_map(|(family, keep)| Some((family, keep?))).collect(),
            retention: Retention { orders, history: outbox.into_iter().chain(attempts).min() },
        }
    }

    /// The database with its replicas, and pools of this many connections.
    pub(crate) fn database(&self, application_name: &str, connections: u32) -> DatabaseConfig {
        pooled(&self.database, application_name, connections)
    }

    /// Configuration of a pool of the primary alone.
    pub(crate) fn pool(&self, application_name: &str, connections: u32) -> PostgresConfig {
        self.database(application_name, connections).primary
    }
}

/// Bounds every statement of a database.
pub(super) fn bound_statements(database: &mut DatabaseConfig, most: Duration) {
    for pool in database.replicas.iter_mut().chain([&mut database.primary]) {
        pool.statement_timeout = pool.statement_timeout.min(most);
    }
}

/// A primary with its replicas, each with a pool like that of the primary.
pub(super) fn with_replicas(
    primary: PostgresConfig,
    urls: Vec<SecretString>,
    lag_max: Duration,
) -> DatabaseConfig {
    let pool = |url| PostgresConfig { url, direct_url: None, ..primary.clone() };
    let replicas = urls.into_iter().map(pool).collect();
    DatabaseConfig { primary, replicas, lag_max }
}

/// The database with pools of this many connections, shown by the server as `application_name`.
pub(super) fn pooled(database: &DatabaseConfig, application_name: &str, connections: u32) -> DatabaseConfig {
    let mut database = database.clone();
    for pool in database.replicas.iter_mut().chain([&mut database.primary]) {
        application_name.clone_into(&mut pool.application_name);
        pool.pool_max = connections;
    }
    database
}

#[derive(Debug, Clone)]
pub(crate) struct RabbitMq {
    pub(crate) url: SecretString,
    /// PEM file, trusted beside the system's certificates.
    pub(crate) ca_file: Option<PathBuf>,
}

pub(super) fn redis(r: &mut Reader, plain: &PlainHosts) -> RedisConfig {
    let url = r.text("redis", "url");
    plain.check_url(r, ("redis", "url"), &url, "rediss");
    RedisConfig {
        url: url.into(),
        prefix: r.text("redis", "prefix"),
        command_timeout: millis(r, "redis", "command_timeout_ms"),
        connect_timeout: millis(r, "redis", "connect_timeout_ms"),
    }
}

fn millis(r: &mut Reader, section: &str, key: &str) -> Duration {
    Duration::from_millis(r.within(section, key, 1..=TIMEOUT_MS_MAX))
}

pub(super) fn rabbitmq(r: &mut Reader, plain: &PlainHosts) -> RabbitMq {
    let url = r.text("rabbitmq", "url");
    plain.check_url(r, ("rabbitmq", "url"), &url, "amqps");
    RabbitMq { url: url.into(), ca_file: r.optional("rabbitmq", "ca_file") }
}

pub(super) fn cassandra(r: &mut Reader, plain: &PlainHosts) -> CassandraConfig {
    let nodes: Vec<String> = r.value("cassandra", "nodes", Vec::new());
    let user = r.text("cassandra", "user");
    let password: SecretString = r.text("cassandra", "password").into();
    let scopes = [("local", MoneyScope::LocalDatacenter), ("all", MoneyScope::AllDatacenters)];
    let listings = [("one", ListingReads::One), ("quorum", ListingReads::Quorum)];
    let connections = r.within("cassandra", "connections_per_node", 1..=64);
    let tls = r.optional("cassandra", "ca_file").map(|ca_file| CassandraTls { ca_file });
    // Only the first plain node is reported.
    if let Some(node) = nodes.iter().find(|node| !plain.allow(host_of_node(node))) {
        plain.check(r, ("cassandra", "nodes"), host_of_node(node), tls.is_some(), "set cassandra.ca_file");
    }
    CassandraConfig {
        local_datacenter: r.text("cassandra", "datacenter"),
        keyspace: r.text("cassandra", "keyspace"),
        replication: r.value("cassandra", "replication", std::collections::BTreeMap::new()),
        login: (!user.is_empty()).then_some(CassandraLogin { user, password }),
        tls,
        connections_per_node: NonZeroUsize::new(connections).unwrap_or(NonZeroUsize::MIN),
        money_timeout: millis(r, "cassandra", "money_timeout_ms"),
        listing_timeout: millis(r, "cassandra", "listing_timeout_ms"),
        call_timeout: millis(r, "cassandra", "call_timeout_ms"),
        connect_timeout: millis(r, "cassandra", "connect_timeout_ms"),
        money: r.either("cassandra", "money", scopes),
        listings: r.either("cassandra", "listings", listings),
        ..CassandraConfig::new(nodes)
    }
}
