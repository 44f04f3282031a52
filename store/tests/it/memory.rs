//! Both suites on the stores in memory: what makes a simulation over them trustworthy.

mod orders {
    store::order_store_suite!(crate::util::memory_orders);
}

mod payments {
    store::payment_store_suite!(crate::util::memory_payments);
}
