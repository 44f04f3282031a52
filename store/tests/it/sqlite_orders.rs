//! The order suite on SQLite.

store::order_store_suite!(crate::util::orders);
