#![doc = include_str!("../README.md")]

pub mod ambient;
pub mod chars;
pub mod error_class;
#[cfg(feature = "http")]
pub mod form_origin;
pub mod histogram;
pub mod ids;
pub mod migrations;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod spans;
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod trace;

pub use ambient::Ambient;
pub use error_class::ErrorClass;
pub use histogram::{DurationHistogram, DurationSnapshot, Exemplar};
pub use trace::TraceContext;

/// A point in time; stored as integer milliseconds since the Unix epoch.
pub use jiff::Timestamp;
