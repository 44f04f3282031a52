//! Background work of Orderworks: the jobs that charge, fulfil, mail and notify, and the relay that turns outbox
//! messages into jobs.
//!
//! Guarantees: a job may run any number of times and takes effect once, by keys derived from its subject.
//! Does not serve HTTP to merchants and stores no data of its own (the sandbox provider is a separate server).
//!
//! Start with [`mod@env`] and [`jobs`]; [`subscriptions`] maps events to jobs.

pub mod env;
pub mod jobs;
pub mod mail;
pub mod provider;
pub mod registry;
pub mod relay;
pub mod subscriptions;
pub mod verify;
pub mod webhook;

mod http_client;

pub use env::{Env, Parts};
pub use registry::registry;
