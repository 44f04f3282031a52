//! A background-job platform: typed jobs, engines that keep them, workers on apalis that run them.
//!
//! Guarantees at-least-once delivery: a job whose publish returned `Ok` is run until its outcome is durable, over
//! crashes of workers, publishers and broker; a handler that is idempotent by its key therefore takes effect once.
//! Knows nothing of orders, payments or HTTP.
//!
//! Start with [`job::Job`]. [`engine::Engine`] is the contract of a queue engine, [`worker`] runs jobs, [`conformance`]
//! is the test suite for a new engine, [`testing`] the test kit for authors of jobs.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod engine;
pub mod envelope;
pub mod error;
pub mod job;
pub mod job_store;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod producer;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
pub mod recorder;
pub mod records;
pub mod registry;
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod worker;

pub use engine::Engine;
pub use envelope::{Envelope, JobId};
pub use error::JobError;
pub use job::{Backoff, Job, JobContext, Priority};
pub use producer::Producer;
pub use registry::Registry;
pub use worker::Workers;

/// The job author's guide, whose snippets are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/JOBS.md")]
struct JobsGuide;
