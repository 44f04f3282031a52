//! The order suite on PostgreSQL, and what is particular to that engine.

store::order_store_suite!(crate::util::postgres::orders);

/// Again in the way that is safe behind a pooler in transaction mode.
mod behind_a_pooler {
    store::order_store_suite!(crate::util::postgres::orders_unnamed);
}
