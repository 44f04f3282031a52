//! What a move tells: its steps, what it did, why it did not.

use std::collections::BTreeMap;

use base::postgres::OpenError;
use serde::Serialize;

use crate::{domain::MerchantId, error::StoreError, postgres::fault::PostgresFault};

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The target is made ready.
    Preparing,
    /// A table is copied while the merchant goes on.
    Copying(&'static str),
    /// The fence is being shut.
    Fencing,
    /// So many messages wait to be sent.
    Draining(u64),
    /// A table is compared under the fence.
    Comparing(&'static str),
    /// The source gives the merchant up.
    Leaving,
    /// The target takes it.
    Arriving,
    /// It lives in the target; processes are given time to notice.
    Settling,
    /// The source's rows of a table are deleted.
    Clearing(&'static str),
}

/// Told of each step as it begins.
pub type Progress<'a> = dyn Fn(Step) + Send + Sync + 'a;

/// A table as it was found equal in both databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The table, or `events` and `commands` of the outbox.
    pub table: &'static str,
    /// Rows.
    pub rows: u64,
    /// Rows that were copied under the fence.
    pub copied: u64,
    /// SHA-256 over the chunks' digests, hexadecimal.
    pub digest: String,
}

/// What a move did.
#[derive(Debug, Clone, Serialize)]
pub struct MoveReport {
    /// Who.
    pub merchant: MerchantId,
    /// From where; `None` when there was nothing left to do.
    pub from: Option<String>,
    /// To where.
    pub to: String,
    /// What was compared; empty when an earlier run had handed over already.
    pub tables: Vec<TableReport>,
    /// For how long the merchant could not be written, by this run.
    pub fenced_ms: u64,
    /// Rows deleted in the source.
    pub deleted: u64,
}

/// What a move would do.
#[derive(Debug, Clone, Serialize)]
pub struct MovePreview {
    /// Who.
    pub merchant: MerchantId,
    /// From where.
    pub from: Option<String>,
    /// To where.
    pub to: String,
    /// What the next run begins with.
    pub next: &'static str,
    /// Rows to copy, by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Messages that wait to be sent.
    pub unsent: u64,
}

/// Why a merchant was not moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// No shard of this name.
    #[error("there is no shard {0}")]
    UnknownShard(String),
    /// No shard knows the merchant.
    #[error("no shard knows this merchant")]
    UnknownMerchant,
    /// Another run is at it.
    #[error("another move of this merchant is under way")]
    Busy,
    /// A move to another shard was begun and not ended.
    #[error("a move to {0} was begun: end it, or undo it with --abort")]
    OtherTarget(String),
    /// Two shards say that the merchant lives there.
    #[error("the merchant lives on {0} and on {1}")]
    TwoHomes(String, String),
    /// The columns of a table differ.
    #[error("the table {0} has not the same columns in both databases: run `orderworks migrate`")]
    Schemas(&'static str),
    /// The relays did not send the merchant's messages in time. The merchant goes on where it is.
    #[error(
        "{messages} messages were not sent within {seconds} s; does a relay run? The merchant stays where it is"
    )]
    Undrained {
        /// How many waited at the end.
        messages: u64,
        /// How long was waited.
        seconds: u64,
    },
    /// A chunk could not be made equal. The merchant goes on where it is.
    #[error("the table {table} differs {chunk}; the merchant stays where it is")]
    Differs {
        /// Which table.
        table: &'static str,
        /// Which keys.
        chunk: String,
    },
    /// The merchant's state was changed by somebody else.
    #[error("the merchant's state was changed meanwhile; look at it and run the command again")]
    Lost,
    /// Too late to abort.
    #[error("the merchant lives on {0} already; move it back instead")]
    Arrived(String),
    /// Locks need a session.
    #[error("the address of the shard {0} leads to a pooler; a move needs one that leads to the server")]
    Pooled(String),
    /// A server cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A statement failed.
    #[error("a database failed")]
    Store(#[from] StoreError),
}

impl From<PostgresFault> for MoveError {
    fn from(fault: PostgresFault) -> Self {
        Self::Store(fault.into())
    }
}
