//! How an engine says that it could not do as asked.

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
        source: Option<crate::error::Cause>,
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
