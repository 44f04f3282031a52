//! What goes wrong in a statement, classified in one place.

use base::postgres::{Class, Classified, classify};
use sqlx::error::DatabaseError;

use crate::{
    engine::{Damage, STORE},
    error::StoreError,
};

/// A transaction or a read failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server broke the transaction off in favour of another: a deadlock, a serialization failure, or a partition
    /// that was attached meanwhile.
    #[error("the transaction lost to another one")]
    Conflict(#[source] sqlx::Error),
    /// Another transaction has just stored this idempotency key.
    #[error("the idempotency key was stored meanwhile")]
    KeyTaken(#[source] sqlx::Error),
    #[error(transparent)]
    Sql(sqlx::Error),
    #[error("the server is read-only")]
    ReadOnly,
    /// The merchant is being moved to another database and cannot be written until it is there.
    #[error("the merchant is moving to another shard")]
    Moving,
    /// The merchant does not live in this database.
    #[error("the merchant lives on another shard")]
    Elsewhere,
    /// Stored data breaks a rule: of the schema or of the types.
    #[error("{0}")]
    Damaged(String),
}

/// The unique index that decides over repeated requests; the table is not partitioned, so its name is the constraint's.
const IDEMPOTENCY_KEY: &str = "idempotency_keys_pkey";

impl Fault {
    /// Whether the connection broke, rather than being hard to get.
    pub(super) fn is_broken_line(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => false,
            Self::Sql(error) => classify(error) == Class::Unavailable,
            _ => false,
        }
    }
}

impl Classified for Fault {
    fn class(&self) -> Class {
        match self {
            // Repeated, the transaction finds the record.
            Self::Conflict(_) | Self::KeyTaken(_) => Class::Serialization,
            Self::Sql(error) => classify(error),
            Self::ReadOnly | Self::Moving | Self::Elsewhere => Class::Unavailable,
            Self::Damaged(_) => Class::Other,
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let refused = error.as_database_error();
        match classify(&error) {
            Class::Serialization => Self::Conflict(error),
            // A rule without a name is the partition's: the row was on its way into the default partition when its
            // month was attached. Repeated, it goes there.
            Class::CheckViolation
                if refused.is_some_and(|e| e.is_check_violation() && e.constraint().is_none()) =>
            {
                Self::Conflict(error)
            }
            Class::UniqueViolation if refused.and_then(|e| e.constraint()) == Some(IDEMPOTENCY_KEY) => {
                Self::KeyTaken(error)
            }
            // A rule that is broken here is a defect or damage; calling it "unavailable" would have it retried.
            Class::UniqueViolation | Class::ForeignKeyViolation | Class::CheckViolation => {
                Self::Damaged(error.to_string())
            }
            // So is a value that is none, such as a text with a zero byte.
            _ if refused.and_then(DatabaseError::code).is_some_and(|code| code.starts_with("22")) => {
                Self::Damaged(error.to_string())
            }
            _ if matches!(
                error,
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_)
            ) =>
            {
                Self::Damaged(error.to_string())
            }
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
