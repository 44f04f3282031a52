#![doc = include_str!("../README.md")]

mod orders;
mod payments;

pub use orders::SqliteOrders;
pub use payments::SqlitePayments;
