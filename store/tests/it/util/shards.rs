//! Order stores over two real databases.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::postgres::PostgresConfig;
use store::{
    OrderStore,
    domain::MerchantId,
    postgres::sharded::{LOCATED_FOR, ShardedOrders},
};

use super::postgres::{Lent, open, patient, skipped};

/// Names of the two shards.
pub(crate) const NAMES: [&str; 2] = ["a", "b"];

/// Two empty databases.
pub(crate) async fn two() -> [Lent; 2] {
    [Lent::new().await, Lent::new().await]
}

/// The configurations of the databases by shard name.
pub(crate) fn named(databases: &[Lent; 2]) -> BTreeMap<String, PostgresConfig> {
    let configs = databases.iter().map(|database| patient(database));
    NAMES.iter().map(|name| (*name).to_owned()).zip(configs).collect()
}

/// A store over the shards.
pub(crate) async fn sharded(
    configs: &BTreeMap<String, PostgresConfig>,
    pins: &[(MerchantId, &str)],
    located_for: Duration,
) -> ShardedOrders {
    let mut stores = BTreeMap::new();
    for (name, config) in configs {
        stores.insert(name.clone(), open(config).await);
    }
    let pins = pins.iter().map(|(merchant, name)| (*merchant, (*name).to_owned())).collect();
    ShardedOrders::forgetting_after(located_for, stores, &pins).expect("a map")
}

/// Opener of orders.
pub(crate) async fn orders() -> Option<(Arc<dyn OrderStore>, [Lent; 2])> {
    if skipped() {
        return None;
    }
    let databases = two().await;
    let store = sharded(&named(&databases), &[], LOCATED_FOR).await;
    Some((Arc::new(store), databases))
}
