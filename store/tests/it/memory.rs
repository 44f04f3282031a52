//! Both suites on the in-memory stores: a simulation over them is worth as much as they match the real engines.

mod orders {
    store::order_store_suite!(crate::util::memory_orders);
}

mod payments {
    store::payment_store_suite!(crate::util::memory_payments);
}
