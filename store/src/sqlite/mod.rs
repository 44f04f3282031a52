//! The SQLite engines: one file for orders and what shares their transaction, one for payments.
//!
//! Guarantees: what the contracts say, and that an answered write survives a kill and a power cut
//! (see [`base::sqlite`]).

mod orders;
mod payments;

pub use orders::SqliteOrders;
pub use payments::SqlitePayments;
