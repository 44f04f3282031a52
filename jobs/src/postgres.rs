//! Shared parts of the PostgreSQL job store and record store: schema `jobs`, error mapping, values. Read on in
//! [`crate::job_store::postgres`] and [`crate::records::postgres`].

use std::borrow::Cow;

use base::postgres::{Class, Classified, classify};
pub use base::postgres::{Database, OpenError, PostgresConfig, SecretString};

use crate::engine::EngineError;

/// Applies the pending migrations of schema `jobs`; both stores expect them to be applied.
pub async fn migrate(config: &PostgresConfig) -> Result<(), OpenError> {
    base::postgres::migrate(config, migrations(), HISTORY).await
}

/// Checks that schema `jobs` is that of this release.
///
/// # Errors
/// A migration is missing or unknown, or the server cannot be reached.
pub async fn check(database: &Database) -> Result<(), OpenError> {
    base::postgres::check(database, &migrations(), HISTORY).await
}

const HISTORY: &str = "jobs.migrations";

/// The migrations of schema `jobs`, with their undo steps.
pub fn migrations() -> sqlx::migrate::Migrator {
    let mut migrations = base::migrations!(
        "migrations/postgres",
        [
            "0001_job_store.down",
            "0001_job_store.up",
            "0002_attempts.down",
            "0002_attempts.up",
            "0003_inspection.down",
            "0003_inspection.up",
            "0004_unique_keys.down",
            "0004_unique_keys.up",
            "0005_dead_jobs.down",
            "0005_dead_jobs.up",
            "0006_schedules.down",
            "0006_schedules.up",
            "0007_run_reports.down",
            "0007_run_reports.up",
            "0008_unique.down",
            "0008_unique.up",
            "0009_worker_notes.down",
            "0009_worker_notes.up",
            "0010_operations.down",
            "0010_operations.up",
            "0011_limits.down",
            "0011_limits.up",
            "0012_fair.down",
            "0012_fair.up",
            "0013_order.down",
            "0013_order.up",
            "0014_listing.down",
            "0014_listing.up",
            "0015_states.down",
            "0015_states.up"
        ]
    );
    migrations.create_schema("jobs");
    migrations
}

/// Error inside a transaction.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresFault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("a stored job cannot be encoded")]
    Json(#[from] serde_json::Error),
    /// Rejected by the unit of work itself; the transaction is rolled back.
    #[error(transparent)]
    Refused(EngineError),
}

impl Classified for PostgresFault {
    fn class(&self) -> Class {
        match self {
            Self::Sql(error) => classify(error),
            Self::Json(_) => Class::Corrupt,
            Self::Refused(_) => Class::Defect,
        }
    }
}

impl PostgresFault {
    pub(crate) fn of(self, engine: &'static str) -> EngineError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(sqlx::Error::PoolClosed) => EngineError::Closed,
            fault => EngineError::new(fault.class().error_class(), engine, fault),
        }
    }
}

/// Replaces NUL, the one character a PostgreSQL text cannot hold.
pub(crate) fn text(value: &str) -> Cow<'_, str> {
    if value.contains('\0') { value.replace('\0', "\u{fffd}").into() } else { value.into() }
}

/// One column of many rows, a parameter of a statement.
pub(crate) fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// Query plan assertions for the tests of both stores.
#[cfg(test)]
pub(crate) mod plans {
    use base::postgres::Database;
    use sqlx::{AssertSqlSafe, Executor};

    /// Inserts rows and updates the planner's statistics.
    pub(crate) async fn fill(database: &Database, sql: &'static str) {
        let mut session = database.session().await.expect("a connection");
        // On a busy machine the rows may take longer than a statement of the product may.
        session.execute("SET statement_timeout = 0").await.expect("sets");
        session.execute(sqlx::raw_sql(sql)).await.expect("fills");
        session.execute("ANALYZE").await.expect("analyses");
        session.execute("RESET statement_timeout").await.expect("resets");
    }

    /// Fails unless the plan uses the index and scans no table sequentially, as a custom and as a generic plan.
    pub(crate) async fn uses_index(database: &Database, sql: &str, values: &str, index: &str) {
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let mut session = database.session().await.expect("a connection");
            let prepare = format!("SET plan_cache_mode = {mode}; DEALLOCATE ALL; PREPARE s AS {sql}");
            session.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.expect("prepares");
            let explain = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN EXECUTE s({values})")));
            let plan: Vec<String> =
                explain.persistent(false).fetch_all(&mut *session).await.expect("explains");
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{index} is not used by{sql}\n{plan}");
            assert!(!plan.contains("Seq Scan"), "sequential scan in{sql}\n{plan}");
        }
    }
}
