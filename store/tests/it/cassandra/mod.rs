//! The payment suite on a real Cassandra, and what a ring can do to a store.

store::payment_store_suite!(crate::util::cassandra::payments);
