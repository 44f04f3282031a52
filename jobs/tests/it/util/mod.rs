//! Helpers with the real broker: a virtual host per test. `base::testing::Proxy` is a connection to it that can be cut.

pub(crate) mod broker;
