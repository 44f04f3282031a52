//! Both suites on the in-memory stores: a simulation over them is worth as much as they match the real engines.

use std::sync::Arc;

use base::Ambient;
use store::{OrderStore, PaymentStore};
use store_memory::{MemoryOrders, MemoryPayments};

mod orders {
    store_conformance::order_store_suite!(crate::memory_orders);
}

mod payments {
    store_conformance::payment_store_suite!(crate::memory_payments);
}

#[expect(clippy::unused_async, reason = "the suites open every engine alike")]
async fn memory_orders() -> (Arc<dyn OrderStore>, ()) {
    (Arc::new(MemoryOrders::new(Ambient::system(), Arc::new(()))), ())
}

#[expect(clippy::unused_async, reason = "the suites open every engine alike")]
async fn memory_payments() -> (Arc<dyn PaymentStore>, ()) {
    (Arc::new(MemoryPayments::new(Arc::new(()))), ())
}
