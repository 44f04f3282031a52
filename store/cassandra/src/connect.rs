//! The driver session: opening it, with an error that names the cause of a failure.

use std::{error::Error, sync::Arc};

use scylla::{
    client::{
        PoolSize, execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder,
    },
    errors::{
        ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError,
        NewSessionError,
    },
    policies::load_balancing::DefaultPolicy,
};
use secrecy::ExposeSecret;

use super::{
    config::{CassandraConfig, CassandraConfigError},
    tls::Tunnels,
};

/// Interval of schema agreement checks; the driver's 200 ms would dominate a migration.
const AGREEMENT_INTERVAL: std::time::Duration = std::time::Duration::from_millis(25);

pub(super) type Result<T, E = CassandraConnectError> = std::result::Result<T, E>;

/// The error of a failed connection or migration. Its text never contains a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CassandraConnectError {
    #[error(transparent)]
    Config(#[from] CassandraConfigError),
    #[error("no Cassandra node answers at {nodes}; try again when one is up")]
    Unreachable {
        /// The contact nodes, separated by commas.
        nodes: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("Cassandra unavailable while {what}")]
    Unavailable {
        what: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("Cassandra rejects the login of {user}")]
    Login {
        /// The role, `nobody` without a configured login.
        user: String,
    },
    #[error("no Cassandra node is in datacenter `{wanted}`; there are: {known}")]
    Datacenter {
        wanted: String,
        /// The datacenters of the cluster, separated by commas.
        known: String,
    },
    #[error("keyspace `{keyspace}` has no schema; migrate first")]
    NoSchema { keyspace: String },
    #[error(
        "the schema of keyspace `{keyspace}` is at version {found}, this release needs {needed}; migrate first"
    )]
    SchemaTooOld { keyspace: String, found: i32, needed: i32 },
    #[error(
        "the schema of keyspace `{keyspace}` is at version {found}, this release knows {known}; run a later one"
    )]
    SchemaTooNew { keyspace: String, found: i32, known: i32 },
    #[error("migration {version} of keyspace `{keyspace}` is not the one that was applied there")]
    SchemaChanged { keyspace: String, version: i32 },
    #[error("another process is migrating keyspace `{keyspace}` since {} s; try again later", waited.as_secs())]
    MigrationBusy { keyspace: String, waited: std::time::Duration },
    #[error("the lock on migrating keyspace `{keyspace}` was lost; try again")]
    MigrationLockLost { keyspace: String },
}

impl CassandraConnectError {
    /// Whether the same call may succeed later without a change to the configuration or the schema.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Unavailable { .. }
                | Self::MigrationBusy { .. }
                | Self::MigrationLockLost { .. }
        )
    }
}

/// The error for an operation that failed on nodes that answer.
pub(super) fn unavailable<E: Error + Send + Sync + 'static>(
    what: &'static str,
) -> impl Fn(E) -> CassandraConnectError {
    move |source| CassandraConnectError::Unavailable { what, source: source.into() }
}

/// A session without a keyspace. The driver reconnects by itself, to each node at most 10 s after it is back.
pub(super) async fn session(config: &CassandraConfig) -> Result<Session> {
    config.check()?;
    let policy = DefaultPolicy::builder().prefer_datacenter(config.local_datacenter.clone()).build();
    let profile = ExecutionProfile::builder()
        .load_balancing_policy(policy)
        .request_timeout(Some(config.money_timeout))
        .build();
    let (builder, tunnels) = reach(SessionBuilder::new(), config).await?;
    let mut builder = builder
        .default_execution_profile_handle(profile.into_handle())
        .pool_size(PoolSize::PerHost(config.connections_per_node))
        .connection_timeout(config.connect_timeout)
        // Only our keyspace: token awareness needs its replication, and a shared cluster may have thousands of tables.
        .keyspaces_to_fetch([config.keyspace.clone()])
        .schema_agreement_interval(AGREEMENT_INTERVAL)
        .schema_agreement_timeout(config.schema_timeout);
    if let Some(login) = &config.login {
        builder = builder.user(login.user.clone(), login.password.expose_secret());
    }
    // The driver's timeout bounds the connection, but not a node that accepts it and never responds.
    let built = tokio::time::timeout(config.call_timeout, builder.build()).await;
    let session = built.map_or_else(
        |overdue| Err(unreachable(config, overdue)),
        |built| {
            built.map_err(|error| match tunnels.and_then(|tunnels| tunnels.trouble()) {
                Some(trouble) => unreachable(config, trouble),
                None => not_opened(config, error),
            })
        },
    )?;
    check_datacenter(config, &session)?;
    Ok(session)
}

/// Sets the contact nodes: the nodes themselves, or with TLS the tunnels to them.
async fn reach(
    builder: SessionBuilder,
    config: &CassandraConfig,
) -> Result<(SessionBuilder, Option<Arc<Tunnels>>)> {
    let Some(tls) = &config.tls else { return Ok((builder.known_nodes(&config.nodes), None)) };
    let tunnels = Arc::new(Tunnels::new(tls, &config.nodes)?);
    let mut contacts = Vec::with_capacity(config.nodes.len());
    for node in &config.nodes {
        contacts.push(tunnels.to_contact(node).await.map_err(|error| unreachable(config, error))?);
    }
    // The shard-aware port of ScyllaDB differs from the port of the tunnels.
    let builder = builder.known_nodes_addr(contacts).disallow_shard_aware_port(true);
    Ok((builder.address_translator(Arc::clone(&tunnels) as _), Some(tunnels)))
}

fn not_opened(config: &CassandraConfig, error: NewSessionError) -> CassandraConnectError {
    if is_login_refused(&error) {
        let user = config.login.as_ref().map_or_else(|| "nobody".to_owned(), |login| login.user.clone());
        return CassandraConnectError::Login { user };
    }
    unreachable(config, error)
}

fn unreachable(config: &CassandraConfig, cause: impl Error + Send + Sync + 'static) -> CassandraConnectError {
    CassandraConnectError::Unreachable { nodes: config.nodes.join(","), source: cause.into() }
}

fn is_login_refused(error: &NewSessionError) -> bool {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::ConnectionSetupRequestError(setup),
    })) = error
    else {
        return false;
    };
    matches!(
        setup.get_error(),
        ConnectionSetupRequestErrorKind::MissingAuthentication
            | ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, _)
    )
}

/// With an unknown name every request would fail with an empty plan, an error that does not name the cause.
fn check_datacenter(config: &CassandraConfig, session: &Session) -> Result<()> {
    let state: Arc<_> = session.get_cluster_state();
    has_datacenter(
        &config.local_datacenter,
        state.get_nodes_info().iter().map(|node| node.datacenter.as_deref()),
    )
}

/// Whether one of the nodes is in this datacenter. Without an answer to its question about the cluster, the driver
/// begins with the contact nodes alone, whose datacenters it does not know: then it cannot be told yet.
fn has_datacenter<'n>(wanted: &str, nodes: impl Iterator<Item = Option<&'n str>>) -> Result<()> {
    let nodes: Vec<Option<&str>> = nodes.collect();
    if nodes.contains(&Some(wanted)) {
        return Ok(());
    }
    if nodes.is_empty() || nodes.contains(&None) {
        let why = std::io::Error::other("no node told the datacenters of the cluster");
        return Err(unavailable("reading its topology")(why));
    }
    let mut known: Vec<&str> = nodes.into_iter().flatten().collect();
    known.sort_unstable();
    known.dedup();
    Err(CassandraConnectError::Datacenter { wanted: wanted.to_owned(), known: known.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datacenter_is_missing_only_where_all_are_known() {
        let check = |nodes: &[Option<&str>]| has_datacenter("east", nodes.iter().copied());
        assert!(check(&[Some("west"), Some("east")]).is_ok() && check(&[None, Some("east")]).is_ok());
        for unknown in [&[][..], &[None], &[Some("west"), None]] {
            assert!(check(unknown).is_err_and(|error| error.is_retryable()), "{unknown:?}");
        }
        let error = check(&[Some("west"), Some("north"), Some("west")]).unwrap_err();
        assert!(error.to_string().ends_with("there are: north, west") && !error.is_retryable(), "{error}");
    }
}
