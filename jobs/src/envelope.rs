//! What travels: a payload and what every engine must know about it.
//!
//! Guarantees: `attempt` is the only attempt counter there is; engines carry it and raise it when they settle a
//! retry. Crashes are counted apart, by the engine, see [`crate::engine::Delivery::crashes`].

use base::{Ambient, Timestamp, TraceContext};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    engine::EngineError,
    job::{Job, Priority},
};

base::typed_id!(
    /// One job over all its attempts.
    JobId,
    "job"
);

/// Upper bound of an encoded payload. Payloads carry ids; more than this is a mistake.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// A job on its way, with its payload still encoded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// Names the job; publishing the same id again while it is known to the engine changes nothing.
    pub id: JobId,
    /// [`crate::Job::KIND`].
    pub kind: String,
    /// [`crate::Job::VERSION`] of the payload.
    pub version: u16,
    /// The queue it belongs to.
    pub queue: String,
    /// Its class.
    pub priority: Priority,
    /// Attempts already used up; the run under way is `attempt + 1`. A job that is dead for exhaustion has used all.
    pub attempt: u32,
    /// Attempts allowed.
    pub max_attempts: u32,
    /// First published.
    pub created_at: Timestamp,
    /// Not to be started before.
    pub run_at: Option<Timestamp>,
    /// The trace it continues.
    pub trace: Option<TraceContext>,
    /// [`crate::Job::unique_key`], led by the kind.
    pub unique_key: Option<String>,
    /// [`crate::Job::concurrency_key`].
    pub concurrency_key: Option<String>,
    /// [`crate::Job::subject`].
    pub subject: Option<String>,
    /// The job struct as JSON.
    pub payload: Box<RawValue>,
}

/// What an enqueuer may decide beyond the job itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnqueueOptions {
    /// The job's id; give a derived one where the same job may be published twice. Fresh when absent.
    pub id: Option<JobId>,
    /// Not to be started before.
    pub run_at: Option<Timestamp>,
    /// Instead of [`Job::PRIORITY`].
    pub priority: Option<Priority>,
    /// The trace to continue.
    pub trace: Option<TraceContext>,
}

impl Envelope {
    /// Wraps a job for publishing.
    ///
    /// Fails with [`EngineError::Refused`] when the payload does not serialise or exceeds [`PAYLOAD_BYTES_MAX`].
    pub fn new<J: Job>(job: &J, options: EnqueueOptions, ambient: &Ambient) -> Result<Self, EngineError> {
        let refused = |why: String| EngineError::Refused(format!("{}: {why}", J::KIND));
        let payload = serde_json::value::to_raw_value(job).map_err(|error| refused(error.to_string()))?;
        let bytes = payload.get().len();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(refused(format!(
                "payload of {bytes} bytes, at most {PAYLOAD_BYTES_MAX}; pass an id instead"
            )));
        }
        Ok(Self {
            id: options.id.unwrap_or_else(|| JobId::fresh(ambient)),
            kind: J::KIND.to_owned(),
            version: J::VERSION,
            queue: J::QUEUE.to_owned(),
            priority: options.priority.unwrap_or(J::PRIORITY),
            attempt: 0,
            max_attempts: J::MAX_ATTEMPTS,
            created_at: ambient.now(),
            run_at: options.run_at,
            trace: options.trace,
            // Within a kind: two kinds must not shut each other out by choosing the same word.
            unique_key: job.unique_key().map(|key| format!("{}/{key}", J::KIND)),
            concurrency_key: job.concurrency_key(),
            subject: job.subject(),
            payload,
        })
    }
}
