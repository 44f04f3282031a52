//! The binary in real use: real processes, real HTTP, real kills.

#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails, also in its helpers")]

mod admission;
mod canary;
mod cli;
mod compose;
mod customers;
mod dev;
mod distributed;
mod documents;
mod exposure;
mod fair_share;
mod faults;
mod hostile;
mod job_traces;
mod kill;
mod kubernetes;
mod merchants;
mod metrics;
mod monitoring;
mod observers;
mod operations_console;
mod operator;
mod outages;
mod paused;
mod proxied;
mod proxied_cache;
mod proxied_framing;
mod rabbitmq;
mod rate_limits;
mod redis;
mod relational;
mod reports;
mod scaling;
mod schedules;
mod settle;
mod shards;
mod shop_pages;
mod source_rules;
mod stampede;
mod storefront;
mod stripe;
mod top;
mod traces;
mod util;
mod verify;
