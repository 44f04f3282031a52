//! Integration tests of the job platform, one module per feature.

#![expect(clippy::expect_used, reason = "a panic is how a test fails, also in its helpers")]

mod bulk;
mod corpus;
mod payload_gate;
mod rabbitmq;
mod scaling;
mod schedule_admin;
mod schedules;
mod sqlite;
mod stores;
mod util;
mod worker;
