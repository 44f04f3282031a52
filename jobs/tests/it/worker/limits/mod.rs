//! Limits per key: over a store in memory that can be away, in virtual time, and over engines and stores as processes
//! share them.

mod ledger;
pub(crate) mod shared;
mod virtual_time;
