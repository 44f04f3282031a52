//! The job envelope: an encoded payload and the fields every engine must carry with it.
//!
//! Guarantees: `attempt` is the only attempt counter; engines carry it and raise it when they settle a retry. Crashes
//! are a separate count of the engine, see [`crate::engine::Delivery::crashes`].

use base::{Ambient, Timestamp, TraceContext};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::id::JobId;
use crate::{
    engine::EngineError,
    job::{Job, Priority},
    unique::Unique,
};

/// Upper bound of an encoded payload, in bytes. Payloads carry ids; a larger payload is a mistake in the job.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// A published job with its payload still encoded. Fields without a line are those of [`crate::Job`].
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// Id of the job; publishing an id the engine still holds changes nothing, where
    /// [`crate::engine::Capabilities::dedupes_ids`] is set.
    pub id: JobId,
    pub kind: String,
    pub version: u16,
    pub queue: String,
    /// [`crate::Job::PRIORITY`], unless the publisher chose another one.
    pub priority: Priority,
    /// Attempts used up; a running job is in attempt `attempt + 1`. A job that is dead for exhaustion has used all.
    pub attempt: u32,
    /// Attempts allowed, [`crate::Job::MAX_ATTEMPTS`].
    pub max_attempts: u32,
    /// Time of the first publish.
    pub created_at: Timestamp,
    /// Earliest start; ready at once when absent.
    pub run_at: Option<Timestamp>,
    /// Trace context of the publisher, which the run continues.
    pub trace: Option<TraceContext>,
    /// [`crate::Job::unique_key`], prefixed with the kind and a slash.
    pub unique_key: Option<String>,
    /// [`crate::Job::UNIQUE`], unless the publisher chose otherwise; without meaning for a job without a unique key.
    #[serde(default, skip_serializing_if = "Unique::is_default")]
    pub unique: Unique,
    pub concurrency_key: Option<String>,
    /// [`crate::Job::fair_key`]; counts only in a queue that is [fair](crate::engine::QueueSpec::fair()).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fair_key: Option<String>,
    /// [`crate::Job::order_key`]; the key of another queue is another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_key: Option<String>,
    pub subject: Option<String>,
    /// The job struct as JSON, at most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Box<RawValue>,
}

/// Per-call options of a publish, beside the job's constants.
#[derive(Debug, Clone, Default)]
pub struct EnqueueOptions {
    /// Id of the job; pass a derived one where the same job may be published twice. A new one when absent.
    pub id: Option<JobId>,
    /// Earliest start; ready at once when absent.
    pub run_at: Option<Timestamp>,
    /// Replaces [`Job::PRIORITY`].
    pub priority: Option<Priority>,
    /// Replaces [`Job::UNIQUE`].
    pub unique: Option<Unique>,
    /// Replaces [`Job::fair_key`], for an owner that the publisher knows and the payload does not name.
    pub fair_key: Option<String>,
    /// Trace context for the run to continue.
    pub trace: Option<TraceContext>,
}

impl Envelope {
    /// Wraps a job for publishing.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the payload does not serialise, or as [`Self::check_payload`].
    pub fn new<J: Job>(job: &J, options: EnqueueOptions, ambient: &Ambient) -> Result<Self, EngineError> {
        let id = options.id.unwrap_or_else(|| JobId::fresh(ambient));
        Self::at(job, id, options, ambient.now())
    }

    /// [`Self::new`] with a given id and time.
    pub(crate) fn at<J: Job>(
        job: &J,
        id: JobId,
        options: EnqueueOptions,
        created_at: Timestamp,
    ) -> Result<Self, EngineError> {
        let payload = serde_json::value::to_raw_value(job)
            .map_err(|error| EngineError::Refused(format!("{}: {error}", J::KIND)))?;
        let envelope = Self {
            id,
            kind: J::KIND.to_owned(),
            version: J::VERSION,
            queue: J::QUEUE.to_owned(),
            priority: options.priority.unwrap_or(J::PRIORITY),
            attempt: 0,
            max_attempts: J::MAX_ATTEMPTS,
            created_at,
            run_at: options.run_at,
            trace: options.trace,
            // Scoped by kind: two kinds that choose the same key must not block each other.
            unique_key: job.unique_key().map(|key| format!("{}/{key}", J::KIND)),
            unique: options.unique.unwrap_or(J::UNIQUE),
            concurrency_key: job.concurrency_key(),
            fair_key: options.fair_key.or_else(|| job.fair_key()),
            order_key: job.order_key(),
            subject: job.subject(),
            payload,
        };
        envelope.check_payload()?;
        Ok(envelope)
    }

    /// Checks the size of the payload and the period of the unique key, as each engine does before it stores a job.
    ///
    /// # Errors
    /// [`EngineError::Refused`] for a payload over [`PAYLOAD_BYTES_MAX`], or a period that [`Unique::within`] does not
    /// allow.
    pub fn check_payload(&self) -> Result<(), EngineError> {
        let bytes = self.payload.get().len();
        let why = if bytes > PAYLOAD_BYTES_MAX {
            format!("payload of {bytes} bytes, at most {PAYLOAD_BYTES_MAX}; pass an id instead")
        } else if !self.unique.is_valid() {
            format!(
                "period of a unique key of {:?}, use 1 s to 31 days",
                self.unique.period().unwrap_or_default()
            )
        } else {
            return Ok(());
        };
        Err(EngineError::Refused(format!("{} {}: {why}", self.kind, self.id)))
    }

    /// Refuses a job with an order key, as each engine without
    /// [`Capabilities::order_keys`](crate::engine::Capabilities::order_keys) does before it stores one: run in another
    /// order, it may do harm.
    ///
    /// # Errors
    /// [`EngineError::Refused`] for a job with an order key.
    pub fn refuse_order_key(&self) -> Result<(), EngineError> {
        if self.order_key.is_none() {
            return Ok(());
        }
        let why = "this engine keeps no order of the jobs of a key";
        Err(EngineError::Refused(format!("{} {}: {why}", self.kind, self.id)))
    }

    /// A substitute for a stored job that cannot be decoded: kind `""`, its raw bytes as a string.
    pub(crate) fn undecodable(id: JobId, queue: String, raw: &str) -> Self {
        Self {
            id,
            kind: String::new(),
            version: 0,
            queue,
            priority: Priority::default(),
            attempt: 0,
            max_attempts: 0,
            created_at: base::ids::timestamp_of(id.0).unwrap_or_default(),
            run_at: None,
            trace: None,
            unique_key: None,
            unique: Unique::default(),
            concurrency_key: None,
            fair_key: None,
            order_key: None,
            subject: None,
            payload: serde_json::value::to_raw_value(raw).unwrap_or_else(|_| RawValue::NULL.to_owned()),
        }
    }
}
