//! Classes of PostgreSQL errors, and bounded retries of transactions that lost to others.

use std::{future::Future, time::Duration};

use crate::{Ambient, ErrorClass};

/// Runs of a unit of work at most, see [`retry_serialization`].
pub(super) const TRIES_MAX: u32 = 6;
/// Upper bound of the first retry's delay; it doubles with each retry.
const RETRY_BASE: Duration = Duration::from_millis(10);

/// The class of an error, by its SQLSTATE (PostgreSQL manual, appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 40001, 40P01: rolled back by the server in favour of another transaction; a retry may well succeed.
    Serialization,
    /// 23505: a row with this key exists.
    UniqueViolation,
    /// 23503: the referenced row does not exist, or is still referenced.
    ForeignKeyViolation,
    /// Other errors of class 23: a constraint of the table forbids the row.
    CheckViolation,
    /// 57014, 55P03, 25P03: a statement, lock or idle timeout; rolled back.
    Timeout,
    /// No connection came free in time.
    PoolExhausted,
    /// The server is unreachable, full, shutting down or a read-only standby. A commit may have taken effect.
    Unavailable,
    /// XX001, XX002 or a value that does not decode: what is stored does not read back.
    Corrupt,
    /// Everything else: a mistake in the statement, the schema or a permission.
    Defect,
}

impl Class {
    /// What a caller can do about it. A broken rule of a table is a defect: rows are checked before they are written.
    pub const fn error_class(self) -> ErrorClass {
        match self {
            Self::Unavailable => ErrorClass::Unavailable,
            Self::Serialization | Self::Timeout | Self::PoolExhausted => ErrorClass::Busy,
            Self::Corrupt => ErrorClass::Corrupt,
            Self::UniqueViolation | Self::ForeignKeyViolation | Self::CheckViolation | Self::Defect => {
                ErrorClass::Defect
            }
        }
    }
}

/// The class of an error; [`Class::Unavailable`] also for errors of the connection.
pub fn classify(error: &sqlx::Error) -> Class {
    use sqlx::Error as E;
    let code = match error {
        E::Database(database) => database.code().unwrap_or_default(),
        E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolClosed | E::WorkerCrashed => {
            return Class::Unavailable;
        }
        E::PoolTimedOut => return Class::PoolExhausted,
        E::ColumnDecode { .. } | E::Decode(_) => return Class::Corrupt,
        _ => return Class::Defect,
    };
    match code.as_ref() {
        "40001" | "40P01" => Class::Serialization,
        "23505" => Class::UniqueViolation,
        "23503" => Class::ForeignKeyViolation,
        "57014" | "55P03" | "25P03" => Class::Timeout,
        // 57P01 to 57P05: shutting down or starting up; 25006: a standby after a failover.
        "57P01" | "57P02" | "57P03" | "57P05" | "25006" => Class::Unavailable,
        // 58: errors of the server's operating system, such as a disk that does not read.
        other if ["08", "53", "58"].iter().any(|class| other.starts_with(class)) => Class::Unavailable,
        "XX001" | "XX002" => Class::Corrupt,
        other if other.starts_with("23") => Class::CheckViolation,
        _ => Class::Defect,
    }
}

/// An error that may come from a server.
pub trait Classified {
    /// Its class; [`Class::Defect`] for an error that no server reported.
    fn class(&self) -> Class;
}

impl Classified for sqlx::Error {
    fn class(&self) -> Class {
        classify(self)
    }
}

/// Runs a transaction at most `TRIES_MAX` times, with jittered backoff, while it fails with [`Class::Serialization`].
pub async fn retry_serialization<T, E, F>(ambient: &Ambient, mut unit: impl FnMut() -> F) -> Result<T, E>
where
    E: Classified,
    F: Future<Output = Result<T, E>>,
{
    let mut tries = 1;
    loop {
        let result = unit().await;
        match &result {
            Err(error) if tries < TRIES_MAX && error.class() == Class::Serialization => {}
            _ => return result,
        }
        tokio::time::sleep(ambient.jitter(RETRY_BASE * 2_u32.pow(tries - 1))).await;
        tries += 1;
    }
}
