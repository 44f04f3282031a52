//! Errors of queue engines.

/// Error of an engine call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The server or file cannot be reached now; call again, with the same ids.
    #[error("the {engine} engine is unavailable: {detail}")]
    Unavailable {
        /// [`crate::Engine::name`].
        engine: &'static str,
        /// Cause in one line.
        detail: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<crate::error::Cause>,
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
        /// [`crate::Engine::name`].
        engine: &'static str,
        /// Answer of the server, without secrets.
        detail: String,
    },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
}
