//! Integration tests of the stores: each engine runs the suites of [`store::conformance`], over real files and servers.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test says so; helpers are not seen as tests"
)]

mod cache;
mod cassandra;
mod defects;
mod memory;
mod postgres;
mod sqlite_orders;
mod sqlite_payments;
mod util;
