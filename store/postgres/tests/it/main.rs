//! The order suite on PostgreSQL, and cases of that engine.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test says so; helpers are not seen as tests"
)]

mod defects;
mod faults;
mod groups;
mod keys;
mod months;
mod plans;
mod races;
mod replicas;
mod search_plans;
mod set_aside;
mod shards;
mod shop;
mod unreadable;
mod util;
mod waking;

store_conformance::order_store_suite!(crate::util::postgres::orders);

mod behind_a_pooler {
    store_conformance::order_store_suite!(crate::util::postgres::orders_pooled);
}

mod with_a_replica {
    store_conformance::order_store_suite!(crate::util::replica::orders);
}

mod over_two_shards {
    store_conformance::order_store_suite!(crate::util::shards::orders);
}

mod over_two_replicated_shards_behind_a_pooler {
    store_conformance::order_store_suite!(crate::util::shards::orders_pooled_with_replicas);
}

/// Ends the test with a printed reason when there is no server to test with.
macro_rules! needs_postgres {
    () => {
        if $crate::util::postgres::skipped() {
            return;
        }
    };
}
use needs_postgres;
