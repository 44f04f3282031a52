//! The stores over real files: each engine is held to the suites of [`store::conformance`].

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test says so; helpers are not seen as tests"
)]

mod cache;
mod cassandra;
mod memory;
mod postgres;
mod sqlite_orders;
mod sqlite_payments;
mod util;
