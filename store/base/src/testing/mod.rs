//! Test tools shared by several crates.

mod proxy;

pub use proxy::Proxy;
