//! The order suite on SQLite.

store_conformance::order_store_suite!(crate::util::orders);
