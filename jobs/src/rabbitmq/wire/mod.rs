//! The broker's side of the engine: connections, the encoding of messages, names of queues and exchanges, errors.

pub(super) mod connect;
pub(super) mod fault;
#[cfg(test)]
mod golden;
pub(super) mod headers;
pub(super) mod ladder;
pub(super) mod message;
pub(super) mod topology;
