//! The contract of bulk operations: their rows, each with a version.
//!
//! Guarantees of every implementation: as for [`super`]; a write takes effect only on the version that its writer has
//! read. Old rows are deleted when one is added, so their number is bounded. Does not read the content, which is JSON
//! of [`crate::bulk`], and knows no clock.

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{engine::EngineError, id::OperationId};

/// Most operations that wait for their confirmation or run.
pub const OPERATIONS_OPEN_MAX: u32 = 100;
/// Most operations that have ended; older ones are deleted.
pub const OPERATIONS_ENDED_MAX: u32 = 900;

/// State of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It waits for its confirmation; nothing has been changed.
    Previewed,
    /// Confirmed: it is carried out, or waits for a process that does.
    Running,
    /// It has ended before its last item.
    Cancelled,
    /// It has ended with its last item.
    Done,
    /// It has ended by an error that is no item's own.
    Failed,
}

crate::names::names!(OperationState {
    Previewed: "previewed",
    Running: "running",
    Cancelled: "cancelled",
    Done: "done",
    Failed: "failed"
});

impl OperationState {
    /// Whether nothing more comes of the operation.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Cancelled | Self::Done | Self::Failed)
    }
}

/// A stored operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRow {
    /// Its id, whose time is that of the preview.
    pub id: OperationId,
    /// Its state.
    pub state: OperationState,
    /// Time of the preview.
    pub created_at: Timestamp,
    /// JSON of a [`crate::bulk::Operation`].
    pub content: String,
    /// Number of writes so far.
    pub version: i64,
}

/// Bulk operations.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// Stores an operation with version 0; returns false, having stored nothing, while [`OPERATIONS_OPEN_MAX`] are
    /// open.
    ///
    /// Deletes previews made before the first time, ended operations previewed before the second one, and of these all
    /// but the newest [`OPERATIONS_ENDED_MAX`].
    async fn add_operation(
        &self,
        operation: OperationRow,
        previews_before: Timestamp,
        ended_before: Timestamp,
    ) -> Result<bool, EngineError>;

    /// All operations, or those in a state, newest first.
    async fn operations(&self, state: Option<OperationState>) -> Result<Vec<OperationRow>, EngineError>;

    /// One operation.
    async fn find_operation(&self, id: OperationId) -> Result<Option<OperationRow>, EngineError>;

    /// Replaces state and content, and raises the version; returns false, having changed nothing, where the version is
    /// another one.
    async fn put_operation(&self, operation: &OperationRow) -> Result<bool, EngineError>;
}
