//! What `jobs` and `store` both stand on: time, ids and randomness that tests can steer, trace context,
//! and SQLite files with one group-committing writer.
//!
//! Knows nothing of jobs, orders or HTTP. Read on in [`ambient`] and [`sqlite`].

pub mod ambient;
pub mod ids;
pub mod sqlite;
pub mod trace;

pub use ambient::Ambient;
pub use trace::TraceContext;

/// The point in time used everywhere; stored as integer milliseconds since the Unix epoch.
pub use jiff::Timestamp;
