//! Tests of sending against real receivers over loopback.

#![expect(clippy::expect_used, reason = "helpers of tests fail the test they are called from")]

mod corpus;
mod hooks;
mod receiver;
mod sending;
