//! Errors of bulk operations.

use crate::{engine::EngineError, id::OperationId, job_store::OperationState};

/// The error for an operation that cannot be previewed, confirmed or cancelled; nothing is stored or changed.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The plan contradicts itself; the text says what to do.
    #[error("{0}")]
    Plan(String),
    #[error("nothing matches, so nothing was stored{0}")]
    NothingMatches(String),
    #[error("100 operations are open: confirm or cancel some of them")]
    TooManyOpen,
    #[error("there is no operation {0}: ended ones are kept for 90 days, previews for a day")]
    Unknown(OperationId),
    #[error("operation {id} is {}: only {expected} can be {asked}", state.as_str())]
    State { id: OperationId, state: OperationState, expected: &'static str, asked: &'static str },
    #[error("operation {0} changes too fast: repeat the request")]
    Raced(OperationId),
    #[error("operation {id} cannot be read by this release")]
    Unreadable { id: OperationId, source: serde_json::Error },
    #[error(transparent)]
    Store(#[from] EngineError),
}
