//! What the engine must be told. Durations are [`Duration`]s, so no setting carries a unit of its own.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Duration};

use secrecy::SecretString;

/// Longest name of a keyspace (the server's limit).
const KEYSPACE_LENGTH_MAX: usize = 48;

/// How to reach Cassandra and what to ask of it. [`CassandraConfig::new`] fills in the defaults.
#[derive(Debug, Clone)]
pub struct CassandraConfig {
    /// Contact nodes, `host:port`; one that answers is enough, the rest of the ring is learnt from it. No default.
    pub nodes: Vec<String>,
    /// The datacenter whose nodes are used and whose replicas make up local quorums. Default: `datacenter1`.
    pub local_datacenter: String,
    /// The keyspace: lower-case letters, digits and `_`, up to 48, a letter first. Default: `orderworks`.
    pub keyspace: String,
    /// Copies of each row by datacenter, used when [`migrate`](super::CassandraPayments::migrate) creates the
    /// keyspace. Default: 3 in `datacenter1`; a single node needs 1.
    pub replication: BTreeMap<String, u32>,
    /// The login; nodes without authentication ignore it. Default: none.
    pub login: Option<CassandraLogin>,
    /// TLS to the nodes. Default: none.
    pub tls: Option<CassandraTls>,
    /// Connections to each node. Default: 2; one carries thousands of requests at once, a second one survives the
    /// loss of the first.
    pub connections_per_node: NonZeroUsize,
    /// Longest wait for a node to accept a connection. Default: 3 s.
    pub connect_timeout: Duration,
    /// Longest wait for one request about money. Default: 3 s; must exceed the servers' own limits (2 s to write,
    /// 1.8 s of contention), or every slow answer is an unknown one.
    pub money_timeout: Duration,
    /// Longest wait for one request of a listing. Default: 2 s.
    pub listing_timeout: Duration,
    /// Longest time one call of the store takes, with what it repeats after timeouts and contention, and longest
    /// time that connecting takes. Default: 10 s.
    pub call_timeout: Duration,
    /// Longest wait for a change of the schema to be agreed on by all nodes. Default: 60 s.
    pub schema_timeout: Duration,
    /// Whose quorum decides about money. Default: [`MoneyScope::LocalDatacenter`].
    pub money: MoneyScope,
    /// How many replicas a listing asks. Default: [`ListingReads::One`].
    pub listings: ListingReads,
}

/// Name and password.
#[derive(Debug, Clone)]
pub struct CassandraLogin {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// TLS with rustls. The certificate must name the address (or host name) by which its node is reached.
#[derive(Debug, Clone)]
pub struct CassandraTls {
    /// PEM file of the authorities to trust.
    pub ca_file: PathBuf,
}

/// Whose replicas take part in decisions. There is no weaker choice: one replica alone cannot decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MoneyScope {
    /// `LOCAL_QUORUM` and `LOCAL_SERIAL`: right while one datacenter at a time works on payments.
    #[default]
    LocalDatacenter,
    /// `QUORUM` and `SERIAL`: right when several datacenters do; each decision then crosses between them.
    AllDatacenters,
}

/// How fresh listings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListingReads {
    /// `LOCAL_ONE`: answers while any replica lives, may miss what was written in the last moments.
    #[default]
    One,
    /// `LOCAL_QUORUM`: sees every write answered before.
    Quorum,
}

/// A setting that cannot work.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("cassandra setting `{setting}`: {why}")]
pub struct CassandraConfigError {
    /// Which.
    pub setting: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl CassandraConfig {
    /// The defaults for these contact nodes.
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

    /// The first mistake, if there is one. What stands in statements is checked here, as names cannot be bound.
    pub fn check(&self) -> Result<(), CassandraConfigError> {
        let wrong = |setting, why: &str| Err(CassandraConfigError { setting, why: why.to_owned() });
        if self.nodes.is_empty() {
            return wrong("nodes", "names no contact node");
        }
        if !is_keyspace_name(&self.keyspace) {
            return wrong("keyspace", "must be a letter, then letters, digits and `_`, lower-case, up to 48");
        }
        if self.replication.values().all(|copies| *copies == 0) {
            return wrong("replication", "keeps no copy anywhere");
        }
        let names = || self.replication.keys().chain([&self.local_datacenter]);
        if !names().all(|name| is_datacenter_name(name)) {
            return wrong("replication", "a datacenter's name holds letters, digits, `_`, `-` and `.` only");
        }
        if self.money_timeout > self.call_timeout {
            return wrong("money_timeout", "exceeds call_timeout, which holds at least one request");
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
