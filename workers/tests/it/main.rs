//! Tests of jobs, relay, provider, mail and webhooks against real parts: SQLite files, HTTP and SMTP over loopback.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test they are called from")]

mod breaker;
mod charge;
mod ended_items;
mod flow;
mod golden;
mod later_release;
mod mail;
mod mail_directions;
mod money;
mod not_found;
mod refund;
mod relay;
mod sandbox;
mod smtp;
mod stripe;
mod util;
mod verify;
mod webhook;
mod webhook_changes;
mod webhook_shares;
