//! Progress, report and errors of a migration.

use std::collections::BTreeMap;

use base::postgres::OpenError;
use serde::Serialize;
use store::{domain::MerchantId, error::StoreError};

use crate::fault::PostgresFault;

/// A step of a migration, as it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    Preparing,
    /// A table is copied while the merchant is in use.
    Copying(&'static str),
    Fencing,
    /// This number of messages is not sent yet.
    Draining(u64),
    /// A table is compared under the fence.
    Comparing(&'static str),
    Leaving,
    Arriving,
    /// The merchant lives on the target; cached locations expire.
    Settling,
    /// The source's rows of a table are deleted.
    Clearing(&'static str),
}

/// Called with each step as it begins.
pub type Progress<'a> = dyn Fn(Step) + Send + Sync + 'a;

/// A table that is equal in both databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The table, or `events` and `commands` of the outbox.
    pub table: &'static str,
    pub rows: u64,
    /// Rows that were copied under the fence.
    pub copied: u64,
    /// SHA-256 over the chunks' digests, hexadecimal.
    pub digest: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct MoveReport {
    pub merchant: MerchantId,
    /// The source shard; `None` when there was nothing left to do.
    pub from: Option<String>,
    pub to: String,
    /// The compared tables; empty when an earlier run had handed over already.
    pub tables: Vec<TableReport>,
    /// Time for which this run kept the merchant from being written, in milliseconds.
    pub fenced_ms: u64,
    /// Rows deleted in the source.
    pub deleted: u64,
}

/// The work that a migration would do.
#[derive(Debug, Clone, Serialize)]
pub struct MovePreview {
    pub merchant: MerchantId,
    /// The source shard; `None` when nothing is left to do.
    pub from: Option<String>,
    pub to: String,
    /// The step with which the next run begins.
    pub next: &'static str,
    /// Rows to copy, by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Messages not sent yet.
    pub unsent: u64,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    #[error("there is no shard {0}")]
    UnknownShard(String),
    #[error("no shard knows this merchant")]
    UnknownMerchant,
    #[error("another move of this merchant is in progress")]
    Busy,
    #[error("a move to {0} was begun: end it, or undo it with --abort")]
    OtherTarget(String),
    #[error("the merchant lives on {0} and on {1}")]
    TwoHomes(String, String),
    #[error("the columns of table {0} differ between the two databases: run `orderworks migrate`")]
    Schemas(&'static str),
    /// The relays did not send the merchant's messages in time. The merchant stays on the source.
    #[error(
        "{messages} messages were not sent within {seconds} s; does a relay run? The merchant stays where it is"
    )]
    Undrained { messages: u64, seconds: u64 },
    /// A chunk could not be made equal. The merchant stays on the source.
    #[error("the table {table} differs {chunk}; the merchant stays where it is")]
    Differs { table: &'static str, chunk: String },
    #[error("the merchant's state was changed concurrently; check it and run the command again")]
    Lost,
    #[error("the merchant lives on {0} already; move it back instead")]
    Arrived(String),
    /// The address leads to a pooler, but the lock needs a session.
    #[error("the address of the shard {0} leads to a pooler; a move needs one that leads to the server")]
    Pooled(String),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("a statement failed")]
    Store(#[from] StoreError),
}

impl From<PostgresFault> for MoveError {
    fn from(fault: PostgresFault) -> Self {
        Self::Store(fault.into())
    }
}
