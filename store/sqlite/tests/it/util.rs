//! Helpers of the tests: an *opener* returns an empty store in a folder of its own; the guard deletes the folder on
//! drop.

use std::sync::Arc;

use base::Ambient;
use store::{OrderStore, PaymentStore};
use store_sqlite::{SqliteOrders, SqlitePayments};
use tempfile::TempDir;

/// Opener of orders.
pub(crate) async fn orders() -> (Arc<dyn OrderStore>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteOrders::open(&folder.path().join("orders.db"), Ambient::system()).await.expect("opens");
    (Arc::new(store), folder)
}

/// Opener of payments.
pub(crate) async fn payments() -> (Arc<dyn PaymentStore>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store =
        SqlitePayments::open(&folder.path().join("payments.db"), Ambient::system()).await.expect("opens");
    (Arc::new(store), folder)
}
