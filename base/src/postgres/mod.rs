//! A PostgreSQL server: a bounded pool with timeouts, migrations, errors by class, bounded retries.
//!
//! Guarantees: every wait is bounded: for a connection, a lock, a statement and a forgotten transaction;
//! [`Database::query`] and [`Database::begin`] work with and without a transaction-pooling `PgBouncer`;
//! [`retry_serialization`] repeats only transactions that the server reports as rolled back. Does not repeat after a
//! lost connection: it is then unknown whether a commit took effect, and only the caller knows how to find out.
//!
//! Read on in `pool`; in `sqlite`, the counterpart for one machine; `testing::scratch` makes databases for tests.

mod class;
mod config;
mod error;
mod pool;

pub use class::{Class, Classified, classify, retry_serialization};
pub use config::PostgresConfig;
pub use error::OpenError;
pub use pool::{PoolState, PoolView, PooledSession, Transaction};
pub use secrecy::SecretString;

use std::{sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Postgres, Row as _, SqlSafeStr,
    migrate::Migrator,
    postgres::{PgArguments, PgRow},
};

use self::pool::Connections;

/// Longest wait for the migrations of another process.
const MIGRATION_WAIT: Duration = Duration::from_mins(2);
/// The key of this project's migrations among the advisory locks of a database.
const MIGRATION_LOCK: i64 = 0x6f77_6d69_6772_6174;

/// A statement with its arguments.
pub type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// A pool of connections. Clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    connections: Connections,
    /// Set behind a `PgBouncer`: the statements that begin a transaction.
    begin: Option<Arc<str>>,
}

/// Opens a pool and connects once, so that a wrong address or login fails here. A server that is unreachable is no
/// error: it may come up later, and until then each call reports it.
pub async fn connect(config: &PostgresConfig) -> Result<Database, OpenError> {
    let connections = Connections::new(config)?;
    let database = Database { connections, begin: config.begin_statement().map(Into::into) };
    match database.ping().await {
        Ok(()) => {}
        Err(error) if classify(&error).error_class().is_transient() => {
            tracing::warn!(%error, "PostgreSQL unreachable at start");
        }
        Err(error) => return Err(OpenError::Connect(error)),
    }
    Ok(database)
}

/// Applies the missing ones of `migrations`, recorded in the table `history`. Processes that start together take turns.
pub async fn migrate(
    config: &PostgresConfig,
    migrations: Migrator,
    history: &'static str,
) -> Result<(), OpenError> {
    let mut migrations = migrations;
    migrations.dangerous_set_table_name(history);
    // An advisory lock of our own: the migrator's wait for its lock would end after `lock_timeout`.
    migrations.set_locking(false);
    let options = config.options(config.direct_url.as_ref().unwrap_or(&config.url))?;
    let mut connection = options.connect().await.map_err(OpenError::Connect)?;
    let result = migrate_on(&mut connection, config, &migrations).await;
    // Closing releases the lock, also after an error.
    connection.close().await.map_err(OpenError::Connect)?;
    result
}

/// Checks that all of `migrations` were applied; for processes that do not migrate themselves. An unreachable server
/// cannot be asked: then the error is an [`OpenError::Connect`] of [`Class::Unavailable`].
pub async fn check(
    database: &Database,
    migrations: &Migrator,
    history: &'static str,
) -> Result<(), OpenError> {
    let applied = format!("SELECT version FROM {history} WHERE success ORDER BY version DESC LIMIT 1");
    let found: i64 = match database.row(sqlx::query(AssertSqlSafe(applied))).await {
        Ok(row) => row.map_or(0, |row| row.get(0)),
        // 42P01, 3F000: no such table, no such schema.
        Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("42P01" | "3F000")) => 0,
        Err(error) => return Err(OpenError::Connect(error)),
    };
    let needed = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    if found < needed { Err(OpenError::SchemaTooOld { history, found, needed }) } else { Ok(()) }
}

async fn migrate_on(
    c: &mut PgConnection,
    config: &PostgresConfig,
    migrations: &Migrator,
) -> Result<(), OpenError> {
    let wait = format!(
        "SET lock_timeout = '{}s'; SELECT pg_advisory_lock({MIGRATION_LOCK}); SET lock_timeout = '{}ms'",
        MIGRATION_WAIT.as_secs(),
        config.lock_timeout.as_millis()
    );
    c.execute(sqlx::raw_sql(AssertSqlSafe(wait))).await.map_err(OpenError::Connect)?;
    Ok(migrations.run_direct(None, c, false).await?)
}

impl Database {
    /// Begins a transaction (READ COMMITTED). Dropping it rolls back.
    pub async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        Transaction::begin(self.connections.lend().await?, self.begin.as_deref()).await
    }

    /// A connection for one statement, without the round trips of a transaction unless behind a `PgBouncer`.
    pub async fn session(&self) -> Result<PooledSession, sqlx::Error> {
        Ok(match self.begin {
            None => self.connections.lend().await?,
            Some(_) => self.begin().await?.0,
        })
    }

    /// Whether statements may be prepared under a name: not behind a `PgBouncer`.
    pub fn names_statements(&self) -> bool {
        self.begin.is_none()
    }

    /// A statement for a transaction or a session, prepared under a name except behind a `PgBouncer`.
    pub fn query<'q>(&self, sql: impl SqlSafeStr) -> Query<'q> {
        sqlx::query(sql).persistent(self.names_statements())
    }

    /// All rows of a statement that is a transaction by itself.
    pub async fn rows(&self, query: Query<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut session = self.session().await?;
        let rows = query.persistent(self.names_statements()).fetch_all(&mut *session).await?;
        session.done().await?;
        Ok(rows)
    }

    /// The first row of a statement that is a transaction by itself.
    pub async fn row(&self, query: Query<'_>) -> Result<Option<PgRow>, sqlx::Error> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// The number of rows changed by a statement that is a transaction by itself.
    pub async fn run(&self, query: Query<'_>) -> Result<u64, sqlx::Error> {
        let mut session = self.session().await?;
        let done = query.persistent(self.names_statements()).execute(&mut *session).await?;
        session.done().await?;
        Ok(done.rows_affected())
    }

    /// Runs a statement by the simple protocol: without preparing it, without rows.
    pub async fn say(&self, statement: &'static str) -> Result<(), sqlx::Error> {
        let mut session = self.session().await?;
        session.execute(sqlx::raw_sql(statement)).await?;
        session.done().await
    }

    /// Checks that the server answers.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        self.say("SELECT 1").await
    }

    /// A view of the pool, for metrics.
    pub fn pool(&self) -> PoolView {
        PoolView::of(&self.connections)
    }

    /// Closes the pool: idle connections now, others when they are returned.
    pub fn close(&self) {
        self.connections.close();
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
