//! Workers over the in-memory engine: outcomes, isolation of failures, stop order, records.
//!
//! A [`Rig`] is an engine with workers on its queue; a [`Probe`] is the environment of the test jobs, to which they
//! report; a `Script` is a job that does what its payload says.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy counts only test functions as tests, not the helpers beside them"
)]

mod boot;
mod counts;
mod engine;
mod fair;
pub(crate) mod fair_flood;
pub(crate) mod gate;
mod kit;
mod lease;
pub(crate) mod limits;
mod listing;
mod ordered;
mod outcomes;
mod records;
pub(crate) mod reports;
pub(crate) mod resize;
mod restart;
pub(crate) mod rig;
mod soft_timeout;
mod stop;
mod tasks;
