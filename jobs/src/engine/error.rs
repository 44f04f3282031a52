//! Errors of queue engines.

use base::ErrorClass;

use crate::{error::Cause, id::JobId, unique::KeyHolder};

/// Error of an engine call.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The server or file failed; the class says whether to call again, with the same ids.
    #[error("the {engine} engine {}", class.predicate())]
    Failed { class: ErrorClass, engine: &'static str, source: Cause },
    #[error("there is no queue `{0}`")]
    NoSuchQueue(String),
    /// Declared by another program: engines give a queue another name when they change its arguments.
    #[error("queue `{queue}` exists with other arguments: {difference}")]
    Topology { queue: String, difference: String },
    /// The request can never be accepted: payload too large, or an invalid name.
    #[error("the job was refused: {0}")]
    Refused(String),
    /// Nothing was changed; possible again once the holder no longer has the key.
    #[error("{id} stays as it is: its unique key is held by {holder}")]
    NotUnique { id: JobId, holder: KeyHolder },
    /// The server rejects this configuration for good: wrong credentials, no such virtual host, or a malformed address.
    /// Retrying does not help; a worker should exit with this error. `detail` holds no secret.
    #[error("the {engine} engine is not allowed in: {detail}")]
    Denied { engine: &'static str, detail: String },
    #[error("the engine is closed")]
    Closed,
}

impl EngineError {
    /// A failure of the server or file; `source` may be a text.
    pub fn new(class: ErrorClass, engine: &'static str, source: impl Into<Cause>) -> Self {
        Self::Failed { class, engine, source: source.into() }
    }

    /// Class of a failed server or file; `None` for a rejected request and a closed engine.
    pub const fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Failed { class, .. } => Some(*class),
            _ => None,
        }
    }

    /// Whether a later call may succeed without a change to code, schema, configuration or data.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { class, .. } if class.is_transient())
    }
}
