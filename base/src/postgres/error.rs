//! Errors of opening a PostgreSQL server.

use sqlx::migrate::MigrateError;

use super::class::classify;

/// The error for a server that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address cannot be parsed.
    #[error("the PostgreSQL address cannot be read; expected postgres://user:password@host:port/database")]
    Address,
    /// The server does not answer or rejects the login.
    #[error("cannot connect to PostgreSQL")]
    Connect(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("cannot migrate PostgreSQL")]
    Migrate(#[from] MigrateError),
    /// Migrations of this release are missing. A newer schema is no error: it must serve the previous release.
    #[error(
        "the schema kept in {history} is at version {found}, this release needs {needed}: run `orderworks migrate`"
    )]
    SchemaTooOld {
        /// The table of applied migrations.
        history: &'static str,
        /// The version of the newest applied migration.
        found: i64,
        /// The version this release needs.
        needed: i64,
    },
}

impl OpenError {
    /// Whether the error is transient: waiting may resolve it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect(error) if classify(error).error_class().is_transient())
    }
}
