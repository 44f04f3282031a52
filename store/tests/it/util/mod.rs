//! Vocabulary: an *opener* gives an empty store in a folder of its own; the folder goes when its guard does.

use std::sync::Arc;

use base::Ambient;
use store::{PaymentStore, sqlite::SqlitePayments};
use tempfile::TempDir;

/// An opener of payments.
pub(crate) async fn payments() -> (Arc<dyn PaymentStore>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store =
        SqlitePayments::open(&folder.path().join("payments.db"), Ambient::system()).await.expect("opens");
    (Arc::new(store), folder)
}
