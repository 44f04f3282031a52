//! How an engine says that it could not do as asked.

use base::{ErrorClass, error_class::describe};

use crate::error::Cause;

/// Why an engine could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The server or file cannot be reached now; try again, under the same ids.
    #[error("the {engine} engine is unavailable: {detail}")]
    Unavailable {
        /// Which engine.
        engine: &'static str,
        /// What is known.
        detail: String,
        /// The cause, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// A timeout, a lost conflict or an exhausted pool; try again, under the same ids.
    #[error("the {engine} engine is busy: {detail}")]
    Busy {
        /// Which engine.
        engine: &'static str,
        /// What is known.
        detail: String,
        /// The cause, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// A mistake in a statement, the schema or a permission; trying again does not help until it is corrected.
    #[error("the {engine} engine does not work as this release expects: {detail}")]
    Defect {
        /// Which engine.
        engine: &'static str,
        /// What is known.
        detail: String,
        /// The cause, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// Stored data does not read back.
    #[error("the {engine} engine holds corrupt data: {detail}")]
    Corrupt {
        /// Which engine.
        engine: &'static str,
        /// What is known.
        detail: String,
        /// The cause, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// The queue was never declared.
    #[error("there is no queue `{0}`")]
    NoSuchQueue(String),
    /// A queue exists with other arguments than wanted.
    #[error("queue `{queue}` exists in another shape: {difference}; {remedy}")]
    Topology {
        /// The queue.
        queue: String,
        /// What differs.
        difference: String,
        /// The command that mends it.
        remedy: String,
    },
    /// The job can never be accepted: too large a payload, a bad name.
    #[error("the job was refused: {0}")]
    Refused(String),
    /// The server turns this configuration away for good: wrong credentials, no such virtual host, a bad address.
    /// Waiting does not help; a worker should exit with it.
    #[error("the {engine} engine is not allowed in: {detail}")]
    Denied {
        /// Which engine.
        engine: &'static str,
        /// What the server said, without secrets.
        detail: String,
    },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
}

impl EngineError {
    /// The variant of this class.
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

    /// Whether waiting may help, without a change to code, schema, configuration or data.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Busy { .. })
    }
}
