//! Metrics of the stores of a process: pools of connections, reads from replicas, defects.
//!
//! Guarantees: pools are those of the roles and shards of the configuration, so the series are bounded; stores in files
//! have no pools, and no figures of them.

use std::sync::Arc;

use base::postgres::PoolView;
use parking_lot::Mutex;
use store::error::defects;
use store_postgres::{PostgresOrders, ReadStats};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter, gauge, histogram},
};

pub(super) const CONNECTIONS: Metric = gauge(
    "orderworks_pool_connections",
    &["pool", "state"],
    "Connections of a pool to PostgreSQL: busy, idle, those that callers wait for (`waiting`), and the most (`max`)",
);
pub(super) const WAIT: Metric = histogram(
    "orderworks_pool_wait_seconds",
    &["pool"],
    "How long callers waited for a connection of the pool, its opening or test included",
);
pub(super) const REPLICA_READS: Metric = counter(
    "orderworks_replica_reads_total",
    &["server"],
    "Reads that a replica may answer, by who did: `replica`, `primary`; `repeated` are those of the primary's that a \
     replica failed at before",
);
pub(super) const REPLICA_LAG: Metric = gauge(
    "orderworks_replica_lag_seconds",
    &[],
    "Upper bound of the replicas' lag; missing while that of one is not known",
);
pub(super) const DEFECTS: Metric = counter(
    "orderworks_defects_total",
    &["store"],
    "Errors of a store that waiting does not help: a statement, schema or permission that does not fit, damaged data",
);

/// Stores whose defects are shown from the start.
const STORES: [&str; 2] = ["order", "payment"];

/// The stores of a process, as far as they have something to show; filled while they are opened.
#[derive(Clone, Default)]
pub(crate) struct StoreViews(Arc<Mutex<ViewLists>>);

#[derive(Default)]
struct ViewLists {
    pools: Vec<(String, PoolView)>,
    /// The store that reads from replicas.
    replicated: Option<PostgresOrders>,
}

impl StoreViews {
    /// Shows the pools of an order store, under this name and that of the shard.
    pub(crate) fn add_orders(&self, name: &str, orders: &PostgresOrders) {
        for (shard, pool) in orders.pools() {
            let name = if shard.is_empty() { name.to_owned() } else { format!("{name}/{shard}") };
            self.add_pool(name, pool);
        }
    }

    /// Shows a pool; one of the same name is replaced.
    pub(crate) fn add_pool(&self, name: String, pool: PoolView) {
        let mut views = self.0.lock();
        views.pools.retain(|(known, _)| *known != name);
        views.pools.push((name, pool));
    }

    /// Shows which servers answer the reads of this store.
    pub(crate) fn show_reads(&self, orders: &PostgresOrders) {
        self.0.lock().replicated = Some(orders.clone());
    }

    /// Registers the metrics of all stores, also of those opened later.
    pub(crate) fn register(&self, metrics: &Metrics) {
        let views = self.clone();
        metrics.show(&CONNECTIONS, move || views.0.lock().pools.iter().flat_map(connections).collect());
        let views = self.clone();
        metrics.show(&WAIT, move || {
            let views = views.0.lock();
            views.pools.iter().map(|(name, pool)| Sample::of(&[name], pool.waits())).collect()
        });
        let views = self.clone();
        metrics.show(&REPLICA_READS, move || {
            let stats = views.0.lock().replicated.as_ref().map(PostgresOrders::read_stats);
            stats.map(reads).unwrap_or_default()
        });
        let views = self.clone();
        metrics.show(&REPLICA_LAG, move || {
            let lag = views.0.lock().replicated.as_ref().and_then(PostgresOrders::lag);
            lag.map(|lag| Sample::only(lag.as_secs_f64())).unwrap_or_default()
        });
        metrics.show(&DEFECTS, || {
            let mut counts = defects();
            for store in STORES {
                counts.entry(store).or_default();
            }
            counts.into_iter().map(|(store, count)| Sample::of(&[store], count)).collect()
        });
    }
}

fn connections((name, pool): &(String, PoolView)) -> Vec<Sample> {
    let state = pool.state();
    let figures =
        [("busy", state.busy), ("idle", state.idle), ("max", state.max), ("waiting", state.waiting)];
    figures.into_iter().map(|(state, count)| Sample::of(&[name, state], count)).collect()
}

fn reads(ReadStats { replica, primary, repeated }: ReadStats) -> Vec<Sample> {
    let counts = [("primary", primary), ("repeated", repeated), ("replica", replica)];
    counts.into_iter().map(|(server, count)| Sample::of(&[server], count)).collect()
}
