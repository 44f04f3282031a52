//! Opens a session and says in plain words what keeps it from being opened.

use std::{error::Error, sync::Arc};

use scylla::{
    client::{
        PoolSize, execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder,
    },
    errors::{
        ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
        MetadataError, NewSessionError, PrepareError,
    },
    policies::load_balancing::DefaultPolicy,
};
use secrecy::ExposeSecret;

use super::config::{CassandraConfig, CassandraConfigError};

/// Between two looks whether all nodes have a schema change; the driver's 200 ms would dominate a migration.
const AGREEMENT_INTERVAL: std::time::Duration = std::time::Duration::from_millis(25);

/// Why there is no store. No text of it holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CassandraConnectError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] CassandraConfigError),
    /// No contact node answers.
    #[error("no Cassandra node answers at {nodes}; try again when one is up")]
    Unreachable {
        /// Those asked, separated by commas.
        nodes: String,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The nodes answer, but not enough of them, or not in time.
    #[error("Cassandra cannot be used now: {what}")]
    Unavailable {
        /// What was asked of it.
        what: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The nodes refuse the login.
    #[error("Cassandra refuses the login of {user}")]
    Login {
        /// Who asked, `nobody` without a configured login.
        user: String,
    },
    /// No node is in the configured datacenter.
    #[error("no Cassandra node is in datacenter `{wanted}`; there are: {known}")]
    Datacenter {
        /// As configured.
        wanted: String,
        /// As the ring has them, separated by commas.
        known: String,
    },
    /// The keyspace or its tables were never made.
    #[error("keyspace `{keyspace}` has no schema; migrate first")]
    NoSchema {
        /// Which.
        keyspace: String,
    },
    /// Migrations are missing.
    #[error(
        "the schema of keyspace `{keyspace}` is at version {found}, this release needs {needed}; migrate first"
    )]
    SchemaTooOld {
        /// Which.
        keyspace: String,
        /// What is applied.
        found: i32,
        /// What is needed.
        needed: i32,
    },
    /// A later release has migrated.
    #[error(
        "the schema of keyspace `{keyspace}` is at version {found}, this release knows {known}; run a later one"
    )]
    SchemaTooNew {
        /// Which.
        keyspace: String,
        /// What is applied.
        found: i32,
        /// The newest this release has.
        known: i32,
    },
    /// A migration was changed after it had been applied.
    #[error("migration {version} of keyspace `{keyspace}` is not the one that was applied there")]
    SchemaChanged {
        /// Which.
        keyspace: String,
        /// Which.
        version: i32,
    },
    /// Somebody else migrates and did not come to an end in time.
    #[error("another process is migrating keyspace `{keyspace}` since {} s; try again later", waited.as_secs())]
    MigrationBusy {
        /// Which.
        keyspace: String,
        /// How long.
        waited: std::time::Duration,
    },
    /// The lock of a migration lapsed under its holder, who stopped.
    #[error("the lock on migrating keyspace `{keyspace}` was lost; try again")]
    MigrationLockLost {
        /// Which.
        keyspace: String,
    },
}

impl CassandraConnectError {
    /// Whether the same call may succeed later without anybody changing the configuration or the schema.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Unavailable { .. }
                | Self::MigrationBusy { .. }
                | Self::MigrationLockLost { .. }
        )
    }

    pub(super) fn execution(what: &'static str) -> impl Fn(ExecutionError) -> Self {
        move |source| Self::Unavailable { what, source: source.into() }
    }

    pub(super) fn preparing(source: PrepareError) -> Self {
        Self::Unavailable { what: "preparing a statement", source: source.into() }
    }

    pub(super) fn reading(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable { what: "reading the schema's version", source: source.into() }
    }
}

/// A session that uses no keyspace yet. The driver reconnects by itself, each node at most 10 s after it is back.
pub(super) async fn session(config: &CassandraConfig) -> Result<Session, CassandraConnectError> {
    config.check()?;
    let policy = DefaultPolicy::builder().prefer_datacenter(config.local_datacenter.clone()).build();
    let profile = ExecutionProfile::builder()
        .load_balancing_policy(policy)
        .request_timeout(Some(config.money_timeout))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .pool_size(PoolSize::PerHost(config.connections_per_node))
        .connection_timeout(config.connect_timeout)
        // Only our own: token awareness needs its replication, and a shared ring may have thousands of tables.
        .keyspaces_to_fetch([config.keyspace.clone()])
        .schema_agreement_interval(AGREEMENT_INTERVAL)
        .schema_agreement_timeout(config.schema_timeout);
    if let Some(login) = &config.login {
        builder = builder.user(login.user.clone(), login.password.expose_secret());
    }
    // The driver bounds the connection, but not a node that accepts it and then keeps silent.
    let building = tokio::time::timeout(config.call_timeout, builder.build()).await;
    let session = match building {
        Ok(built) => built.map_err(|error| not_opened(config, error))?,
        Err(overdue) => return Err(unreachable(config, overdue)),
    };
    check_datacenter(config, &session)?;
    Ok(session)
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

/// A name nobody has would make every request fail with an empty plan, which tells little.
fn check_datacenter(config: &CassandraConfig, session: &Session) -> Result<(), CassandraConnectError> {
    let state: Arc<_> = session.get_cluster_state();
    let mut known: Vec<&str> =
        state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&config.local_datacenter.as_str()) {
        return Ok(());
    }
    Err(CassandraConnectError::Datacenter {
        wanted: config.local_datacenter.clone(),
        known: known.join(", "),
    })
}
