//! Order stores over a real primary and its streaming replica.
//!
//! All databases share one replica and so one WAL replay: tests that pause it exclude tests that need it to run.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base::{
    Ambient,
    postgres::PostgresConfig,
    testing::{scratch::Scratch, skip},
};
use secrecy::ExposeSecret;
use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use store::OrderStore;
use store_postgres::{DatabaseConfig, PostgresOrders};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use url::Url;

use super::postgres::{Lent, patient};
use base::testing::until;

const URL: &str = "ORDERWORKS_TEST_POSTGRES_REPLICA_URL";

static REPLAY: RwLock<()> = RwLock::const_new(());

/// Whether tests with a replica are skipped; prints the reason.
pub(crate) fn skipped() -> bool {
    let missing = std::env::var(URL).is_err();
    if missing {
        skip(&format!("{URL} is not set; see `ops/services up --replica`"));
    }
    missing || super::postgres::skipped()
}

/// Guard under which the replay is not paused.
pub(crate) async fn going_on() -> RwLockReadGuard<'static, ()> {
    REPLAY.read().await
}

/// Address of the replica.
pub(crate) fn address() -> SocketAddr {
    let url = server();
    let host = url.host_str().expect("a host");
    format!("{host}:{}", url.port().unwrap_or(5432)).parse().expect("an address of this machine")
}

fn server() -> Url {
    std::env::var(URL).expect("set").parse().expect("an address")
}

/// Configuration of a database on the replica, through another port if one is given.
pub(crate) fn config(database: &Scratch, port: Option<u16>) -> PostgresConfig {
    let mut url = server();
    let primary: Url = database.url().expose_secret().parse().expect("an address");
    url.set_path(primary.path());
    if port.is_some() {
        url.set_port(port).expect("can have one");
    }
    PostgresConfig { url: String::from(url).into(), ..database.config() }
}

/// A store over primary and replica, returned once the replica has caught up.
pub(crate) async fn replicated(
    database: &Scratch,
    replica: PostgresConfig,
    lag_max: Duration,
) -> PostgresOrders {
    let store = beside(database, vec![replica], lag_max).await;
    caught_up(&store, lag_max).await;
    store
}

/// Waits until all replicas have caught up.
pub(crate) async fn caught_up(store: &PostgresOrders, lag_max: Duration) {
    until("the replicas have caught up", async || store.lag().is_some_and(|lag| lag <= lag_max)).await;
}

/// A store over primary and replicas, returned at once.
pub(crate) async fn beside(
    database: &Scratch,
    replicas: Vec<PostgresConfig>,
    lag_max: Duration,
) -> PostgresOrders {
    let config = DatabaseConfig { primary: patient(database), replicas, lag_max };
    PostgresOrders::replicated(&config, Ambient::system()).await.expect("good addresses")
}

/// Opener of orders; the replay is not paused while the guard lives.
pub(crate) async fn orders() -> Option<(Arc<dyn OrderStore>, (Lent, RwLockReadGuard<'static, ()>))> {
    if skipped() {
        return None;
    }
    let (replaying, database) = (going_on().await, Lent::new().await);
    let store = replicated(&database, config(&database, None), Duration::from_secs(1)).await;
    Some((Arc::new(store), (database, replaying)))
}

/// Control of the replay, exclusive to one test.
pub(crate) struct Replay {
    pool: PgPool,
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Replay {
    pub(crate) async fn alone() -> Self {
        let alone = REPLAY.write().await;
        let pool =
            PgPoolOptions::new().max_connections(1).connect(server().as_str()).await.expect("connects");
        Self { pool, _alone: alone }
    }

    /// Pauses the replay: later writes are not seen on the replica.
    pub(crate) async fn pause(&self) {
        self.pool.execute("SELECT pg_wal_replay_pause()").await.expect("pauses");
        let paused = async || {
            let sql = "SELECT pg_get_wal_replay_pause_state()";
            sqlx::query_scalar::<_, String>(sql).fetch_one(&self.pool).await.expect("tells") == "paused"
        };
        until("the replay stands", paused).await;
    }

    pub(crate) async fn resume(&self) {
        self.pool.execute("SELECT pg_wal_replay_resume()").await.expect("resumes");
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        // On its own runtime: the test's runtime may be shutting down.
        let resuming = std::thread::spawn(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let pool = PgPoolOptions::new().max_connections(1).connect(server().as_str()).await;
                pool.expect("connects").execute("SELECT pg_wal_replay_resume()").await.expect("resumes");
            });
        });
        assert!(resuming.join().is_ok() || std::thread::panicking(), "the replica stands still");
    }
}
