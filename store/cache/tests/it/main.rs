//! Tests of caches, sessions and rate limits: the suite of each contract on every engine, and cases of single engines.

#![expect(clippy::expect_used, reason = "a failing test says so; helpers are not seen as tests")]

mod defects;
mod embedded;
mod redis;
mod redis_outage;
mod util;
