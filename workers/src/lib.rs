//! What Orderworks does in the background: charge, fulfil, mail, notify; and the relay that turns the outbox into
//! jobs.
//!
//! Guarantees: every job may run any number of times and takes effect once, by keys derived from what it is about.
//! Does not serve HTTP to merchants and holds no data of its own (the sandbox provider is a server apart).
//!
//! Start with [`mod@env`] and [`jobs`]; which event becomes which job is in [`subscriptions`].

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
