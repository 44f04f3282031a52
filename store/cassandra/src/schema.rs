//! The schema of the keyspace: numbered migrations, embedded at compile time, each applied once.
//!
//! Guarantees: one process migrates at a time, under a lock that expires [`LOCK_TTL_SECONDS`] after its holder died;
//! all nodes agree on each change before the next; an applied migration is recorded with a checksum. A statement whose
//! record was lost in a crash is run again, so every statement must be repeatable (`IF NOT EXISTS`).
//!
//! Cassandra 5 cannot create the same table over two nodes at once without the risk of two ids for it, and the lock
//! cannot protect the creation of its own table. So all schema changes go to one node, which serializes them: the
//! connected node with the least host id, which is the same for all processes that see the same nodes.

use std::{sync::Arc, time::Duration};

use base::{Ambient, ids::Uuid};
use scylla::{
    client::session::Session,
    errors::{DbError, ExecutionError, RequestAttemptError},
    policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy},
    response::query_result::{QueryResult, QueryRowsResult},
    serialize::row::SerializeRow,
    statement::unprepared::Statement,
};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::{
    config::CassandraConfig,
    connect::{CassandraConnectError, Result, unavailable},
    session::{Cas, is_applied},
};

/// Lifetime of the lock after its last renewal.
const LOCK_TTL_SECONDS: i32 = 30;
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Interval of attempts to acquire the lock: the server cannot notify waiters.
const LOCK_POLL: Duration = Duration::from_millis(250);
/// Longest wait for the lock: until an abandoned one expires, and then a migration by another process.
const LOCK_WAIT: Duration = Duration::from_mins(3);

/// One file of `migrations/cassandra/`.
struct Migration {
    version: i32,
    name: &'static str,
    text: &'static str,
}

const MIGRATIONS: [Migration; 3] = [
    Migration {
        version: 1,
        name: "0001_payments.cql",
        text: include_str!("../../../migrations/cassandra/0001_payments.cql"),
    },
    Migration {
        version: 2,
        name: "0002_lookups.cql",
        text: include_str!("../../../migrations/cassandra/0002_lookups.cql"),
    },
    Migration {
        version: 3,
        name: "0003_charge.cql",
        text: include_str!("../../../migrations/cassandra/0003_charge.cql"),
    },
];

const READING: &str = "reading the schema's version";
const LOCK_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_lock (name text PRIMARY KEY, owner uuid)";
const RECORD_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations
    (version int PRIMARY KEY, name text, checksum text, applied_at timestamp)";

/// Fails unless the schema is exactly that of this release.
pub(super) async fn check(session: &Session, config: &CassandraConfig) -> Result<()> {
    let schema = Schema { session, config, leader: None };
    let keyspace = config.keyspace.clone();
    if !schema.has_table("schema_migrations").await? {
        return Err(CassandraConnectError::NoSchema { keyspace });
    }
    let applied = schema.applied().await?;
    let missing = schema.missing(&applied)?;
    match missing.first() {
        None => Ok(()),
        Some(first) if first.version == 1 => Err(CassandraConnectError::NoSchema { keyspace }),
        Some(first) => {
            Err(CassandraConnectError::SchemaTooOld { keyspace, found: first.version - 1, needed: newest() })
        }
    }
}

/// Applies the missing migrations; returns their names.
pub(super) async fn migrate(
    session: &Session,
    config: &CassandraConfig,
    ambient: &Ambient,
) -> Result<Vec<&'static str>> {
    let leader = least_host_id(session);
    let schema = Schema { session, config, leader };
    schema.make_keyspace().await?;
    for text in [LOCK_TABLE, RECORD_TABLE] {
        schema.change(text).await?;
    }
    let owner = ambient.uuid();
    schema.lock(owner).await?;
    let applied = tokio::select! {
        applied = schema.apply_missing(ambient) => applied,
        lost = schema.keep_lock(owner) => Err(lost),
    };
    schema.unlock(owner).await;
    applied
}

fn least_host_id(session: &Session) -> Option<Uuid> {
    let state: Arc<_> = session.get_cluster_state();
    state.get_nodes_info().iter().filter(|node| node.is_connected()).map(|node| node.host_id).min()
}

fn newest() -> i32 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

struct Schema<'a> {
    session: &'a Session,
    config: &'a CassandraConfig,
    /// The node that executes schema changes.
    leader: Option<Uuid>,
}

impl Schema<'_> {
    /// Sent to the node that executes schema changes even when the keyspace seems to exist: system tables show a change
    /// before statements can use it. A role that may not create a keyspace can use an existing one.
    async fn make_keyspace(&self) -> Result<()> {
        let copies: Vec<String> =
            self.config.replication.iter().map(|(name, copies)| format!("'{name}': {copies}")).collect();
        let text = format!(
            "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{'class': 'NetworkTopologyStrategy', {}}}",
            self.config.keyspace,
            copies.join(", ")
        );
        match self.run_change(&text).await {
            Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, _)))
                if self.has_keyspace().await? =>
            {
                Ok(())
            }
            other => other.map_err(unavailable("creating the keyspace")),
        }
    }

    async fn apply_missing(&self, ambient: &Ambient) -> Result<Vec<&'static str>> {
        let applied = self.applied().await?;
        let mut names = Vec::new();
        for migration in self.missing(&applied)? {
            for text in statements(migration.text) {
                self.change(&text).await?;
            }
            let record = format!(
                "INSERT INTO {}.schema_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
                self.config.keyspace
            );
            let at = super::attempts::millis(ambient.now());
            let values = (migration.version, migration.name, migration.checksum(), at);
            self.ask(&record, values).await.map_err(unavailable("recording a migration"))?;
            tracing::info!(keyspace = self.config.keyspace, migration = migration.name, "schema migrated");
            names.push(migration.name);
        }
        Ok(names)
    }

    fn missing(&self, applied: &[(i32, String)]) -> Result<Vec<&'static Migration>> {
        let keyspace = || self.config.keyspace.clone();
        let found = applied.iter().map(|(version, _)| *version).max().unwrap_or_default();
        if found > newest() {
            return Err(CassandraConnectError::SchemaTooNew { keyspace: keyspace(), found, known: newest() });
        }
        let checksum_of = |version| applied.iter().find(|(v, _)| *v == version).map(|(_, checksum)| checksum);
        let mut missing = Vec::new();
        for migration in &MIGRATIONS {
            match checksum_of(migration.version) {
                None => missing.push(migration),
                Some(checksum) if *checksum == migration.checksum() => {}
                Some(_) => {
                    let version = migration.version;
                    return Err(CassandraConnectError::SchemaChanged { keyspace: keyspace(), version });
                }
            }
        }
        Ok(missing)
    }

    async fn applied(&self) -> Result<Vec<(i32, String)>> {
        let text = format!("SELECT version, checksum FROM {}.schema_migrations", self.config.keyspace);
        let result = self.ask(&text, ()).await.map_err(unavailable(READING))?;
        let rows = result.into_rows_result().map_err(unavailable(READING))?;
        let rows = rows.rows::<(i32, String)>().map_err(unavailable(READING))?;
        rows.collect::<Result<_, _>>().map_err(unavailable(READING))
    }

    async fn has_keyspace(&self) -> Result<bool> {
        let text = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
        self.has_row(text, (&self.config.keyspace,)).await
    }

    async fn has_table(&self, name: &str) -> Result<bool> {
        let text = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
        self.has_row(text, (&self.config.keyspace, name)).await
    }

    async fn has_row(&self, text: &str, values: impl SerializeRow) -> Result<bool> {
        let result = self.ask(text, values).await.map_err(unavailable("reading the schema"))?;
        Ok(result.into_rows_result().map_err(unavailable(READING))?.rows_num() > 0)
    }

    async fn change(&self, text: &str) -> Result<()> {
        let before = if text.starts_with("ALTER TABLE ") { "ALTER TABLE " } else { "IF NOT EXISTS " };
        let text = text.replacen(before, &format!("{before}{}.", self.config.keyspace), 1);
        self.run_change(&text).await.map_err(unavailable("changing the schema"))
    }

    /// Sends a change to the one node; the driver then waits until all nodes agree.
    async fn run_change(&self, text: &str) -> Result<(), ExecutionError> {
        let mut statement = Statement::new(text);
        statement.set_request_timeout(Some(self.config.schema_timeout));
        statement.set_is_idempotent(true);
        statement.set_load_balancing_policy(
            self.leader.map(|id| SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(id), None)),
        );
        self.session.query_unpaged(statement, ()).await.map(drop)
    }

    async fn ask(&self, text: &str, values: impl SerializeRow) -> Result<QueryResult, ExecutionError> {
        let mut statement = Statement::new(text);
        statement.set_consistency(self.config.money.quorum());
        statement.set_is_idempotent(true);
        self.session.query_unpaged(statement, values).await
    }

    async fn lock(&self, owner: Uuid) -> Result<()> {
        let began = Instant::now();
        let text = format!(
            "INSERT INTO {}.schema_lock (name, owner) VALUES ('migrate', ?) IF NOT EXISTS USING TTL {LOCK_TTL_SECONDS}",
            self.config.keyspace
        );
        while began.elapsed() < LOCK_WAIT {
            if self.cas(&text, (owner,)).await == Cas::Applied || self.holder().await? == Some(owner) {
                return Ok(());
            }
            sleep(LOCK_POLL).await;
        }
        Err(CassandraConnectError::MigrationBusy {
            keyspace: self.config.keyspace.clone(),
            waited: began.elapsed(),
        })
    }

    /// Renews the lock until it is lost; returns the error.
    async fn keep_lock(&self, owner: Uuid) -> CassandraConnectError {
        let text = format!(
            "UPDATE {}.schema_lock USING TTL {LOCK_TTL_SECONDS} SET owner = ? WHERE name = 'migrate' IF owner = ?",
            self.config.keyspace
        );
        loop {
            sleep(RENEW_EVERY).await;
            let refused = self.cas(&text, (owner, owner)).await == Cas::Refused;
            if refused {
                return CassandraConnectError::MigrationLockLost { keyspace: self.config.keyspace.clone() };
            }
        }
    }

    /// Releases the lock; if that fails, it expires.
    async fn unlock(&self, owner: Uuid) {
        let text =
            format!("DELETE FROM {}.schema_lock WHERE name = 'migrate' IF owner = ?", self.config.keyspace);
        let outcome = self.cas(&text, (owner,)).await;
        tracing::debug!(?outcome, "migration lock released");
    }

    async fn holder(&self) -> Result<Option<Uuid>> {
        let text = format!("SELECT owner FROM {}.schema_lock WHERE name = 'migrate'", self.config.keyspace);
        let mut statement = Statement::new(text);
        statement.set_consistency(self.config.money.serial_read());
        let result = self.session.query_unpaged(statement, ()).await;
        let result = result.map_err(unavailable("reading the migration lock"))?;
        let rows = result.into_rows_result().map_err(unavailable(READING))?;
        let first = rows.maybe_first_row::<(Option<Uuid>,)>().map_err(unavailable(READING))?;
        Ok(first.and_then(|(owner,)| owner))
    }

    async fn cas(&self, text: &str, values: impl SerializeRow) -> Cas {
        let mut statement = Statement::new(text);
        statement.set_consistency(self.config.money.quorum());
        statement.set_serial_consistency(Some(self.config.money.serial_consistency()));
        let answer = self.session.query_unpaged(statement, values).await;
        let rows: Option<QueryRowsResult> = answer.ok().and_then(|answer| answer.into_rows_result().ok());
        rows.and_then(|rows| is_applied(&rows).ok()).unwrap_or(Cas::Unknown)
    }
}

impl Migration {
    fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.text.as_bytes()))
    }
}

/// The statements of a migration: each ends with `;` at the end of a line; comments have lines of their own.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = format!("{}\n", code.join("\n"));
    code.split(";\n").map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_in_order() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/cassandra");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("reads")
            .map(|file| file.expect("reads").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, MIGRATIONS.iter().map(|m| m.name.to_owned()).collect::<Vec<_>>());
        for (number, migration) in (1..).zip(&MIGRATIONS) {
            assert_eq!(migration.version, number);
            assert!(migration.name.starts_with(&format!("{number:04}_")));
        }
    }

    #[test]
    fn every_statement_can_be_repeated() {
        let all: Vec<String> = MIGRATIONS.iter().flat_map(|migration| statements(migration.text)).collect();
        assert_eq!(all.len(), 6);
        for text in all {
            assert!(text.contains("IF NOT EXISTS ") && !text.contains("--"), "{text}");
        }
    }
}
