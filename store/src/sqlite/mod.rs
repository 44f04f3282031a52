//! The stores of the embedded mode, each in its own SQLite file.
//!
//! Guarantees: what the contracts say, and that an answered write survives a kill and a power cut
//! (see [`base::sqlite`]).

mod payments;

pub use payments::SqlitePayments;
