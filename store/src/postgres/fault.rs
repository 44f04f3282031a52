//! What goes wrong in a statement, classified in one place.

use sqlx::error::DatabaseError;

use crate::{
    engine::{Damage, STORE},
    error::StoreError,
};

/// A transaction or a read failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server broke the transaction off in favour of another: a deadlock or a serialization failure.
    #[error("the transaction lost to another one")]
    Conflict(#[source] sqlx::Error),
    /// Another transaction has just stored this idempotency key.
    #[error("the idempotency key was stored meanwhile")]
    KeyTaken(#[source] sqlx::Error),
    #[error(transparent)]
    Sql(sqlx::Error),
    #[error("the server is read-only")]
    ReadOnly,
    /// Stored data breaks a rule: of the schema or of the types.
    #[error("{0}")]
    Damaged(String),
}

/// The unique index that decides over repeated requests; the table is not partitioned, so its name is the constraint's.
const IDEMPOTENCY_KEY: &str = "idempotency_keys_pkey";

impl Fault {
    /// Whether the whole transaction, repeated, may well succeed.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::KeyTaken(_))
    }

    /// Whether the connection broke.
    pub(super) fn is_broken_line(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed))
            || matches!(self, Self::Sql(sqlx::Error::Database(refused))
                // The server or an administrator ended it.
                if matches!(code(refused.as_ref()).as_str(), "57P01" | "57P02" | "57P03" | "25P03"))
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
                Self::Damaged(error.to_string())
            }
            sqlx::Error::Database(refused) => match code(refused.as_ref()).as_str() {
                "40001" | "40P01" => Self::Conflict(error),
                "23505" if refused.constraint() == Some(IDEMPOTENCY_KEY) => Self::KeyTaken(error),
                // A constraint that fails, or a value that is none, is a defect or damage; calling it "unavailable"
                // would have it retried.
                code if code.starts_with("22") || code.starts_with("23") => {
                    Self::Damaged(refused.message().to_owned())
                }
                _ => Self::Sql(error),
            },
            _ => Self::Sql(error),
        }
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage.0)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(detail) => Self::Damaged { store: STORE, detail },
            fault => Self::Unavailable { store: STORE, source: Box::new(fault) },
        }
    }
}

fn code(error: &dyn DatabaseError) -> String {
    error.code().unwrap_or_default().into_owned()
}
