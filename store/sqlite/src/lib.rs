#![doc = include_str!("../README.md")]

mod orders;
mod payments;
mod row;

pub use orders::SqliteOrders;
pub use payments::SqlitePayments;
