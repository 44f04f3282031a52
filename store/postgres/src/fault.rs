//! Errors of statements, and their classes.

use std::sync::Arc;

use base::postgres::{Class, Classified, classify};
use store::{
    error::StoreError,
    rules::{Damage, STORE},
};
use tokio::sync::oneshot;

/// What a transaction or a read gives inside of this crate; the contracts' methods have the result of the store.
pub(super) type Result<T, E = PostgresFault> = std::result::Result<T, E>;

/// A transaction or a read failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostgresFault {
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
    MerchantMigrating,
    /// The merchant does not live in this database.
    #[error("the merchant lives on another shard")]
    MerchantElsewhere,
    /// Neither clock may decide what is old.
    #[error("this machine's clock is {seconds} s ahead of the database server's")]
    ClocksDiffer { seconds: i64 },
    /// Stored data breaks a rule: of the schema or of the types.
    #[error("{0}")]
    Corrupt(String),
    /// The error of a transaction that several orders shared.
    #[error(transparent)]
    Batch(Arc<PostgresFault>),
    /// The runtime shuts down, or the task of the batch panicked.
    #[error("the transaction of several orders ended without an answer")]
    BatchEnded(#[source] oneshot::error::RecvError),
}

/// The unique index that decides over repeated requests; the table is not partitioned, so its name is the constraint's.
const IDEMPOTENCY_KEY: &str = "idempotency_keys_pkey";

impl PostgresFault {
    /// Whether the connection broke, rather than being hard to get.
    pub(super) fn is_broken_line(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::PoolClosed) => false,
            Self::Sql(error) => classify(error) == Class::Unavailable,
            _ => false,
        }
    }

    /// Whether the fence rejected the write because the merchant does not live in this database.
    pub(super) fn is_elsewhere(&self) -> bool {
        match self {
            Self::MerchantElsewhere => true,
            Self::Batch(fault) => fault.is_elsewhere(),
            _ => false,
        }
    }
}

impl Classified for PostgresFault {
    fn class(&self) -> Class {
        match self {
            // Repeated, the transaction finds the record.
            Self::Conflict(_) | Self::KeyTaken(_) => Class::Serialization,
            Self::Sql(error) => classify(error),
            Self::ReadOnly | Self::MerchantMigrating | Self::MerchantElsewhere | Self::BatchEnded(_) => {
                Class::Unavailable
            }
            Self::ClocksDiffer { .. } => Class::Defect,
            Self::Corrupt(_) => Class::Corrupt,
            Self::Batch(fault) => fault.class(),
        }
    }
}

impl From<sqlx::Error> for PostgresFault {
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
            Class::Corrupt => Self::Corrupt(error.to_string()),
            _ => Self::Sql(error),
        }
    }
}

impl From<Damage> for PostgresFault {
    fn from(damage: Damage) -> Self {
        Self::Corrupt(damage.0)
    }
}

impl From<PostgresFault> for StoreError {
    fn from(fault: PostgresFault) -> Self {
        match fault {
            PostgresFault::Corrupt(detail) => Self::corrupt(STORE, detail),
            fault => Self::new(fault.class().error_class(), STORE, fault),
        }
    }
}
