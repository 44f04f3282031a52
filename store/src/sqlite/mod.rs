//! The SQLite engines: one file for orders and what shares their transaction, one for payments.

mod orders;

pub use orders::SqliteOrders;
