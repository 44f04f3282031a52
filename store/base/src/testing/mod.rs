//! What tests of several crates stand on.

mod proxy;

pub use proxy::Proxy;
