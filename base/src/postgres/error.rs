//! Errors of opening a PostgreSQL server.

use sqlx::migrate::MigrateError;

use super::class::classify;

/// The error for a server that cannot be used.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("the PostgreSQL address cannot be read; expected postgres://user:password@host:port/database")]
    Address,
    /// The server does not answer or rejects the login.
    #[error("cannot connect to PostgreSQL")]
    Connect(#[source] sqlx::Error),
    #[error("cannot migrate PostgreSQL")]
    Migrate(#[from] MigrateError),
    /// Migrations of this release are missing. A newer schema is no error: it must serve the previous release.
    #[error(
        "the schema kept in {history} is at version {found}, this release needs {needed}: run `orderworks migrate`"
    )]
    SchemaTooOld { history: &'static str, found: i64, needed: i64 },
}

impl OpenError {
    /// Whether the error is transient: waiting may resolve it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect(error) if classify(error).error_class().is_transient())
    }
}
