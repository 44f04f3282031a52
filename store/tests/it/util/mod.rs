//! Vocabulary: an *opener* gives an empty store in a folder of its own; the folder goes when its guard does.

pub(crate) mod cassandra;
pub(crate) mod postgres;
pub(crate) mod ring;

use std::sync::Arc;

use base::Ambient;
use store::{
    OrderStore, PaymentStore,
    sqlite::{SqliteOrders, SqlitePayments},
};
use tempfile::TempDir;

/// An opener of orders.
pub(crate) async fn orders() -> (Arc<dyn OrderStore>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteOrders::open(&folder.path().join("orders.db"), Ambient::system()).await.expect("opens");
    (Arc::new(store), folder)
}

/// An opener of payments.
pub(crate) async fn payments() -> (Arc<dyn PaymentStore>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store =
        SqlitePayments::open(&folder.path().join("payments.db"), Ambient::system()).await.expect("opens");
    (Arc::new(store), folder)
}
