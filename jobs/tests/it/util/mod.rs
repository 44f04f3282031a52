//! The vocabulary of the tests: `Broker` is the real server, `Vhost` a test's own corner of it, `base::testing::Proxy` a
//! line to it that can be cut.

pub(crate) mod broker;
