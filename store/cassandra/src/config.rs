//! The configuration of the payment store in Cassandra. Durations are [`Duration`]s, so no setting has a unit in its
//! name.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Duration};

use secrecy::SecretString;

/// Longest name of a keyspace (the server's limit).
const KEYSPACE_LENGTH_MAX: usize = 48;

/// The address of a cluster, with consistency and timeouts. [`CassandraConfig::new`] fills in the defaults.
#[derive(Debug, Clone)]
pub struct CassandraConfig {
    /// Contact nodes, `host:port`; one reachable node is enough, the others are discovered from it. No default.
    pub nodes: Vec<String>,
    /// The datacenter whose nodes are used and whose replicas make up local quorums. Default: `datacenter1`.
    pub local_datacenter: String,
    /// The keyspace: lower-case letters, digits and `_`, up to 48, a letter first. Default: `orderworks`.
    pub keyspace: String,
    /// Copies of each row by datacenter, used when [`migrate`](super::CassandraPayments::migrate) creates the keyspace.
    /// Default: 3 in `datacenter1`; a single node needs 1.
    pub replication: BTreeMap<String, u32>,
    /// The login; nodes without authentication ignore it. Default: none.
    pub login: Option<CassandraLogin>,
    /// TLS to the nodes. Default: none.
    pub tls: Option<CassandraTls>,
    /// Connections to each node. Default: 2; one carries thousands of requests at once, the second survives the loss of
    /// the first.
    pub connections_per_node: NonZeroUsize,
    /// Longest wait for a node to accept a connection. Default: 3 s.
    pub connect_timeout: Duration,
    /// Longest wait for one request about money. Default: 3 s; must exceed the servers' own timeouts (2 s for a write,
    /// 1.8 s for contention), or every slow response leaves the outcome unknown.
    pub money_timeout: Duration,
    /// Longest wait for one request of a listing. Default: 2 s.
    pub listing_timeout: Duration,
    /// Longest call of the store, including retries after timeouts and contention, and longest time to connect.
    /// Default: 10 s.
    pub call_timeout: Duration,
    /// Longest wait for schema agreement of all nodes. Default: 60 s.
    pub schema_timeout: Duration,
    /// The replicas whose quorum decides about money. Default: [`MoneyScope::LocalDatacenter`].
    pub money: MoneyScope,
    /// Consistency of listings. Default: [`ListingReads::One`].
    pub listings: ListingReads,
}

#[derive(Debug, Clone)]
pub struct CassandraLogin {
    pub user: String,
    pub password: SecretString,
}

/// TLS with rustls. A node's certificate must name the address by which the node is reached: for a contact node its
/// host as configured, for the others the address that the cluster announces. All nodes listen on the first contact
/// node's port.
#[derive(Debug, Clone)]
pub struct CassandraTls {
    /// PEM file of the trusted certificate authorities.
    pub ca_file: PathBuf,
}

/// The replicas that take part in decisions. There is no weaker choice: one replica alone cannot decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MoneyScope {
    /// `LOCAL_QUORUM` and `LOCAL_SERIAL`: correct while one datacenter at a time writes payments.
    #[default]
    LocalDatacenter,
    /// `QUORUM` and `SERIAL`: correct when several datacenters write payments; each decision then crosses datacenters.
    AllDatacenters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListingReads {
    /// `LOCAL_ONE`: answers while any replica lives; may miss the most recent writes.
    #[default]
    One,
    /// `LOCAL_QUORUM`: sees every write answered before.
    Quorum,
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("cassandra setting `{setting}`: {why}")]
pub struct CassandraConfigError {
    pub setting: &'static str,
    /// The reason, and the allowed values.
    pub why: String,
}

impl CassandraConfig {
    /// The default settings for these contact nodes.
    pub fn new(nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let datacenter = "datacenter1".to_owned();
        Self {
            nodes: nodes.into_iter().map(Into::into).collect(),
            replication: BTreeMap::from([(datacenter.clone(), 3)]),
            local_datacenter: datacenter,
            keyspace: "orderworks".to_owned(),
            login: None,
            tls: None,
            connections_per_node: NonZeroUsize::MIN.saturating_add(1),
            connect_timeout: Duration::from_secs(3),
            money_timeout: Duration::from_secs(3),
            listing_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(10),
            schema_timeout: Duration::from_mins(1),
            money: MoneyScope::default(),
            listings: ListingReads::default(),
        }
    }

    /// The first invalid setting, if any. Names that become part of statements are checked here, as they cannot be
    /// bound.
    pub fn check(&self) -> Result<(), CassandraConfigError> {
        let wrong = |setting, why: &str| Err(CassandraConfigError { setting, why: why.to_owned() });
        if self.nodes.is_empty() {
            return wrong("nodes", "must name at least one contact node");
        }
        if !is_keyspace_name(&self.keyspace) {
            return wrong("keyspace", "must be a letter, then letters, digits and `_`, lower-case, up to 48");
        }
        if self.replication.values().all(|copies| *copies == 0) {
            return wrong("replication", "must keep at least one copy");
        }
        let names = || self.replication.keys().chain([&self.local_datacenter]);
        if !names().all(|name| is_datacenter_name(name)) {
            return wrong("replication", "datacenter names consist of letters, digits, `_`, `-` and `.`");
        }
        if self.money_timeout > self.call_timeout {
            return wrong("money_timeout", "exceeds call_timeout, which must allow at least one request");
        }
        Ok(())
    }
}

fn is_keyspace_name(name: &str) -> bool {
    name.len() <= KEYSPACE_LENGTH_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_datacenter_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right_and_each_mistake_is_named() {
        let good = CassandraConfig::new(["127.0.0.1:9042"]);
        assert_eq!(good.check(), Ok(()));
        let wrong = |change: fn(&mut CassandraConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().map_err(|error| error.setting)
        };
        assert_eq!(wrong(|c| c.nodes.clear()), Err("nodes"));
        for name in ["", "Orders", "1st", "a'; DROP KEYSPACE b; --"] {
            let config = CassandraConfig { keyspace: name.to_owned(), ..good.clone() };
            assert_eq!(config.check().map_err(|error| error.setting), Err("keyspace"), "{name}");
        }
        assert_eq!(wrong(|c| c.replication.clear()), Err("replication"));
        assert_eq!(wrong(|c| c.local_datacenter = "d'1".to_owned()), Err("replication"));
        assert_eq!(wrong(|c| c.call_timeout = Duration::from_secs(1)), Err("money_timeout"));
    }

    #[test]
    fn a_shown_configuration_hides_the_password() {
        let login = CassandraLogin { user: "shop".to_owned(), password: "hunter2".to_owned().into() };
        let config = CassandraConfig { login: Some(login), ..CassandraConfig::new(["n:1"]) };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
