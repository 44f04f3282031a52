//! Payment stores on a real Cassandra cluster.

use std::sync::{Arc, Weak};

use store::PaymentStore;
pub(crate) use store_cassandra::testing::{Keyspace, config, sweep};
use tokio::sync::Mutex;

/// Opener of payments for the suite.
pub(crate) async fn payments() -> Option<(Arc<dyn PaymentStore>, Arc<Keyspace>)> {
    let keyspace = shared().await?;
    // Its own connections: those of another test end with that test's runtime.
    let store = Arc::new(keyspace.store().await);
    Some((store, keyspace))
}

/// One keyspace for the tests with ids of their own, since creating one takes seconds. The last user drops it.
pub(crate) async fn shared() -> Option<Arc<Keyspace>> {
    static SHARED: Mutex<Weak<Keyspace>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(keyspace) = shared.upgrade() {
        return Some(keyspace);
    }
    let keyspace = Arc::new(Keyspace::migrated().await?);
    *shared = Arc::downgrade(&keyspace);
    Some(keyspace)
}
