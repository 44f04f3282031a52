//! The suites of orders and payments on SQLite, and cases that need a file.

#![expect(clippy::expect_used, reason = "a failing test says so; helpers are not seen as tests")]

mod defects;
mod orders;
mod payments;
mod util;
