//! Consuming: a supervisor per consumer, a session per connection, and settlements back to the broker.

pub(super) mod consumer;
pub(super) mod keys;
mod outcome;
mod priority_channel;
mod session;
pub(super) mod supervisor;
mod window;
