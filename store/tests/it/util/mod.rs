//! Helpers of the tests: an *opener* returns an empty store in a folder of its own; the guard deletes the folder on
//! drop.

pub(crate) mod cassandra;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod replica;
pub(crate) mod ring;
pub(crate) mod shards;

use std::{sync::Arc, time::Duration};

use base::Ambient;
use store::{
    OrderStore, PaymentStore,
    sqlite::{SqliteOrders, SqlitePayments},
    testing::{MemoryOrders, MemoryPayments},
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Longest wait for a condition to become true.
const PATIENCE: Duration = Duration::from_secs(15);

/// Opener of orders on SQLite.
pub(crate) async fn orders() -> (Arc<dyn OrderStore>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteOrders::open(&folder.path().join("orders.db"), Ambient::system()).await.expect("opens");
    (Arc::new(store), folder)
}

/// Opener of payments on SQLite.
pub(crate) async fn payments() -> (Arc<dyn PaymentStore>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store =
        SqlitePayments::open(&folder.path().join("payments.db"), Ambient::system()).await.expect("opens");
    (Arc::new(store), folder)
}

/// Opener of orders in memory.
#[expect(clippy::unused_async, reason = "the suites open every engine alike")]
pub(crate) async fn memory_orders() -> (Arc<dyn OrderStore>, ()) {
    (Arc::new(MemoryOrders::new(Ambient::system(), Arc::new(()))), ())
}

/// Opener of payments in memory.
#[expect(clippy::unused_async, reason = "the suites open every engine alike")]
pub(crate) async fn memory_payments() -> (Arc<dyn PaymentStore>, ()) {
    (Arc::new(MemoryPayments::new(Arc::new(()))), ())
}

/// Polls until the condition holds: a server that is back sends no event.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
