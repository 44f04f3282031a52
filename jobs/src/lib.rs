//! A background-job platform: typed jobs, engines that keep them, workers on apalis that run them.
//!
//! Guarantees at-least-once delivery: a job whose publish was answered is run until its outcome is durable,
//! whatever dies on the way; a handler that is idempotent by its key therefore takes effect once. Knows nothing
//! of orders, payments or HTTP.
//!
//! Start with [`job::Job`]; engines are described by [`engine::Engine`]; [`worker`] runs jobs; a new engine
//! proves itself with [`conformance`]; [`testing`] is the kit for authors of jobs.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod engine;
pub mod envelope;
pub mod error;
pub mod job;
pub mod records;
pub mod sqlite;

pub use engine::Engine;
pub use envelope::{Envelope, JobId};
pub use error::JobError;
pub use job::{Backoff, Job, JobContext, Priority};
