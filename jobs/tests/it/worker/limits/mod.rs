//! Limits per key: over a store in memory that can be away, in virtual time, over engines and stores as processes share
//! them, and over processes that are paused and killed.

mod ledger;
pub(crate) mod processes;
pub(crate) mod shared;
mod virtual_time;
