#![doc = include_str!("../README.md")]

pub mod bulk;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod engine;
pub mod envelope;
pub mod error;
mod failure;
mod id;
pub mod inspection;
pub mod job;
pub mod job_store;
pub mod limits;
mod names;
mod payload;
pub mod payload_gate;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod producer;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
pub mod recorder;
pub mod records;
pub mod registry;
pub mod reporter;
pub mod scaling;
pub mod schedule;
pub mod spans;
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod unique;
pub mod worker;

// Items of other crates that stand in signatures of this one: a program needs to name no other crate for them.
pub use async_trait::async_trait;
pub use base::{
    Ambient, DurationSnapshot, ErrorClass, Exemplar, Timestamp, TraceContext,
    ambient::{Clock, ManualClock},
    ids::{ParseIdError, Uuid},
};
pub use engine::{Admin, Consume, Engine, Publish};
pub use envelope::{Envelope, JobId};
pub use error::JobError;
pub use job::{Backoff, Job, JobContext, Priority};
pub use producer::Producer;
pub use registry::Registry;
pub use reporter::Reporter;
pub use tokio_util::sync::CancellationToken;
pub use unique::Unique;
pub use worker::Workers;

/// The job author's guide, whose snippets are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../GUIDE.md")]
struct JobsGuide;
