//! Errors of queue engines.

use base::{ErrorClass, error_class::describe};

use crate::error::Cause;

/// Error of an engine call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The server or file cannot be reached now; call again, with the same ids.
    #[error("the {engine} engine is unavailable: {detail}")]
    Unavailable {
        /// [`crate::engine::EngineInfo::name`].
        engine: &'static str,
        /// Cause in one line.
        detail: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// A timeout, a lost conflict or an exhausted pool; call again, with the same ids.
    #[error("the {engine} engine is busy: {detail}")]
    Busy {
        /// [`crate::engine::EngineInfo::name`].
        engine: &'static str,
        /// Cause in one line.
        detail: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// A mistake in a statement, the schema or a permission; calling again does not help until it is corrected.
    #[error("the {engine} engine does not work as this release expects: {detail}")]
    Defect {
        /// [`crate::engine::EngineInfo::name`].
        engine: &'static str,
        /// Cause in one line.
        detail: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// Stored data cannot be decoded.
    #[error("the {engine} engine holds corrupt data: {detail}")]
    Corrupt {
        /// [`crate::engine::EngineInfo::name`].
        engine: &'static str,
        /// Cause in one line.
        detail: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// The queue was never declared.
    #[error("there is no queue `{0}`")]
    NoSuchQueue(String),
    /// A queue exists with other arguments than this release declares.
    #[error("queue `{queue}` exists with other arguments: {difference}; {remedy}")]
    Topology {
        /// Name of the queue.
        queue: String,
        /// The arguments that differ.
        difference: String,
        /// The command that resolves the difference.
        remedy: String,
    },
    /// The request can never be accepted: payload too large, or an invalid name.
    #[error("the job was refused: {0}")]
    Refused(String),
    /// The server rejects this configuration for good: wrong credentials, no such virtual host, or a malformed address.
    /// Retrying does not help; a worker should exit with this error.
    #[error("the {engine} engine is not allowed in: {detail}")]
    Denied {
        /// [`crate::engine::EngineInfo::name`].
        engine: &'static str,
        /// Answer of the server, without secrets.
        detail: String,
    },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
}

impl EngineError {
    /// An error of the variant that corresponds to `class`.
    pub fn new(class: ErrorClass, engine: &'static str, source: impl Into<Cause>) -> Self {
        let source = source.into();
        let (detail, source) = (describe(source.as_ref()), Some(source));
        match class {
            ErrorClass::Unavailable => Self::Unavailable { engine, detail, source },
            ErrorClass::Busy => Self::Busy { engine, detail, source },
            ErrorClass::Defect => Self::Defect { engine, detail, source },
            ErrorClass::Corrupt => Self::Corrupt { engine, detail, source },
        }
    }

    /// Whether a later call may succeed without a change to code, schema, configuration or data.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Busy { .. })
    }
}
