//! Order stores over two real databases.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{Ambient, postgres::PostgresConfig};
use store::{OrderStore, domain::MerchantId};
use store_postgres::{DatabaseConfig, LOCATED_FOR, PostgresOrders, ShardingConfig};
use tokio::sync::RwLockReadGuard;

use super::{
    postgres::{Lent, patient, pooled, skipped},
    replica,
};

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

/// The same with a replica each.
pub(crate) fn named_with_replicas(
    databases: &[Lent; 2],
    lag_max: Duration,
) -> BTreeMap<String, DatabaseConfig> {
    let configs = databases.iter().map(|database| DatabaseConfig {
        primary: patient(database),
        replicas: vec![replica::config(database, None)],
        lag_max,
    });
    NAMES.iter().map(|name| (*name).to_owned()).zip(configs).collect()
}

/// A store over the shards.
pub(crate) async fn sharded<D: Into<DatabaseConfig> + Clone>(
    configs: &BTreeMap<String, D>,
    pins: &[(MerchantId, &str)],
    located_for: Duration,
) -> PostgresOrders {
    let configs = configs.iter().map(|(name, config)| (name.clone(), config.clone().into())).collect();
    let pins = pins.iter().map(|(merchant, name)| (*merchant, (*name).to_owned())).collect();
    let sharding = ShardingConfig { pins, located_for };
    PostgresOrders::sharded(configs, sharding, Ambient::system()).await.expect("connects")
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

/// Opener of orders over shards behind a pooler, with a replica each; the replay is not paused while the guard lives.
pub(crate) async fn orders_pooled_with_replicas()
-> Option<(Arc<dyn OrderStore>, ([Lent; 2], RwLockReadGuard<'static, ()>))> {
    if replica::skipped() {
        return None;
    }
    let (replaying, databases) = (replica::going_on().await, two().await);
    let lag_max = Duration::from_secs(1);
    let mut configs = named_with_replicas(&databases, lag_max);
    for config in configs.values_mut() {
        config.primary = pooled(config.primary.clone());
        // Unnamed statements in transactions, as through a pooler before the replica.
        config.replicas.iter_mut().for_each(|replica| replica.pgbouncer = true);
    }
    let store = sharded(&configs, &[], LOCATED_FOR).await;
    replica::caught_up(&store, lag_max).await;
    Some((Arc::new(store), (databases, replaying)))
}
