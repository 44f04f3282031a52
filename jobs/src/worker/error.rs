//! Errors of workers: those that end them, and those that a supervisor recovers from.

use std::time::Duration;

use apalis_core::error::WorkerError as ApalisError;
use tokio::task::JoinError;

use crate::engine::EngineError;

/// Reason why workers could not start or had to stop.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    #[error("no queue to work on; name at least one")]
    NoQueues,
    /// The two may differ in concurrency.
    #[error("queue `{0}` is named twice")]
    DuplicateQueue(String),
    #[error("queue `{0}` needs a concurrency of at least 1")]
    NoSlots(String),
    /// All its jobs would be dead as unknown.
    #[error("no job kind is registered for queue `{queue}`; queues with jobs: {known}")]
    NothingRegistered { queue: String, known: String },
    /// The engine would deliver the job again while it runs, see [`crate::engine::Capabilities::longest_run`].
    #[error(
        "job kind `{kind}` has a TIMEOUT of {timeout:?}; the {engine} engine allows runs of {limit:?} at most"
    )]
    TimeoutTooLong { kind: &'static str, timeout: Duration, engine: &'static str, limit: Duration },
    /// The limit holds over all processes only by a store that they share.
    #[error(
        "limit `{limit}` of job kind `{kind}` needs a store: give one to the workers with `Workers::limiter`"
    )]
    NoLimiter { kind: &'static str, limit: String },
    /// The engine rejects the configuration or is closed; retrying does not help.
    #[error("cannot consume queue `{queue}`")]
    Engine { queue: String, source: EngineError },
    /// A job computed without awaiting until after the last deadline, so its thread could not be stopped.
    #[error("queue `{queue}` did not stop: a job blocks its thread")]
    Blocked { queue: String },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The engine does not start a consumer, or is closed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine has ended the consumer.
    #[error("consumer lost")]
    Lost(#[source] EngineError),
    #[error("the worker ended: {0}")]
    Worker(String),
    /// Code outside of all jobs panicked.
    #[error("the worker panicked: {0}")]
    Panicked(JoinError),
}

impl SessionError {
    /// The error for an apalis worker that ended before it was told to.
    pub(super) fn of_worker(ended: Result<Result<(), ApalisError>, JoinError>) -> Self {
        match ended {
            Ok(Ok(())) => Self::Worker("without an error".to_owned()),
            Ok(Err(error)) => Self::Worker(error.to_string()),
            Err(panic) => Self::Panicked(panic),
        }
    }
}
