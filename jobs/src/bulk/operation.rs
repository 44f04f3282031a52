//! A bulk operation: its plan, how far it is, and what came of it.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::{error::OperationError, plan::Plan};
use crate::{
    id::OperationId,
    job_store::{OperationRow, OperationState},
};

/// A bulk operation as it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Its state.
    pub state: OperationState,
    /// What it does.
    pub plan: Plan,
    /// Time of the preview: later items are not taken.
    pub created_at: Timestamp,
    /// Time of the confirmation.
    pub began_at: Option<Timestamp>,
    /// Time of its end.
    pub ended_at: Option<Timestamp>,
    /// How many items.
    pub counts: Counts,
    /// What is done to each item, in words.
    pub effect: String,
    /// Some of the items that matched at the preview.
    pub sample: Vec<Item>,
    /// What it does not reach, in words.
    pub limits: Vec<String>,
    /// Error of the last item that failed, or of the operation.
    pub last_error: Option<String>,
    /// Whether it ends once the items in hand are done.
    pub is_cancelling: bool,
    pub(super) position: Position,
    #[serde(skip)]
    pub(super) version: i64,
}

/// Numbers of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Those that matched at the preview.
    pub matched: u64,
    /// Whether that is all of them; the preview stops counting at [`crate::bulk::COUNT_MAX`].
    pub is_exact: bool,
    /// Those it was done to.
    pub done: u64,
    /// Those that did not match any more when their turn came.
    pub skipped: u64,
    /// Those it could not be done to.
    pub failed: u64,
}

/// An item, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// What it is, for people.
    pub text: String,
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Position {
    /// The process that carries it out.
    pub(super) holder: Option<String>,
    /// Position of the last items that are done.
    pub(super) after: Option<String>,
    /// Items that are being done; noted before, so that a crash leaves no doubt which ones.
    pub(super) in_hand: Vec<String>,
    /// Position of these; `None` where they are the last.
    pub(super) then: Option<String>,
}

impl Operation {
    pub(super) fn new(id: OperationId, plan: Plan, now: Timestamp) -> Self {
        Self {
            id,
            state: OperationState::Previewed,
            plan,
            created_at: now,
            began_at: None,
            ended_at: None,
            counts: Counts::default(),
            effect: String::new(),
            sample: Vec::new(),
            limits: Vec::new(),
            last_error: None,
            is_cancelling: false,
            position: Position::default(),
            version: 0,
        }
    }

    /// The operation of a row.
    pub(super) fn read(row: &OperationRow) -> Result<Self, OperationError> {
        let read: serde_json::Result<Self> = serde_json::from_str(&row.content);
        let read = read.map_err(|source| OperationError::Unreadable { id: row.id, source })?;
        Ok(Self { state: row.state, version: row.version, ..read })
    }

    /// The row of the operation.
    pub(super) fn to_row(&self) -> serde_json::Result<OperationRow> {
        Ok(OperationRow {
            id: self.id,
            state: self.state,
            created_at: self.created_at,
            content: serde_json::to_string(self)?,
            version: self.version,
        })
    }

    /// Items whose turn has come.
    pub const fn processed(&self) -> u64 {
        self.counts.done + self.counts.skipped + self.counts.failed
    }

    /// Number of items that are being done.
    pub const fn in_hand(&self) -> usize {
        self.position.in_hand.len()
    }

    /// The process that carries it out, or did last.
    pub fn holder(&self) -> Option<&str> {
        self.position.holder.as_deref()
    }

    /// Ends the operation.
    pub(super) fn end(&mut self, state: OperationState, now: Timestamp) {
        (self.state, self.ended_at) = (state, Some(now));
        if state == OperationState::Done && self.counts.is_exact {
            // They had left the filter before their page was read.
            self.counts.skipped += self.counts.matched.saturating_sub(self.processed());
        }
    }
}
