//! The stores of the embedded mode: one file for orders and all data that shares their transactions, one for payments.
//!
//! Guarantees: those of the contracts; an answered write survives a kill and a power cut (see [`base::sqlite`]).

mod orders;
mod payments;

pub use orders::SqliteOrders;
pub use payments::SqlitePayments;
