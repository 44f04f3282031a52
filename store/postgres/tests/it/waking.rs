//! Wake-ups of a relay by commits of another process.

use std::time::Duration;

use base::{Ambient, postgres::PostgresConfig};
use store::outbox::Outbox;
use tokio::{sync::watch, time::timeout};

use super::{needs_postgres, shop::TestMerchant};
use crate::util::postgres::{Lent, open, pool};

/// Longest wait for a hint.
const PATIENCE: Duration = Duration::from_secs(10);

async fn woken(arrivals: &mut watch::Receiver<u64>) {
    timeout(PATIENCE, arrivals.changed()).await.expect("a hint comes").expect("the store is open");
}

#[tokio::test]
async fn a_commit_wakes_a_relay_of_another_process_also_after_its_connection_was_lost() {
    needs_postgres!();
    let database = Lent::new().await;
    let shop = TestMerchant::new(open(&database.config()).await, Ambient::system()).await;
    shop.product("mug", 10).await;
    let config = PostgresConfig { application_name: "listener".to_owned(), ..database.config() };
    let relay = open(&config).await;
    let mut arrivals = relay.arrivals();
    // A first hint covers commits from before the connection listened.
    woken(&mut arrivals).await;
    shop.place("1", &["mug"]).await;
    woken(&mut arrivals).await;

    let sql = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'listener' AND query LIKE 'LISTEN%'";
    let ended: i64 = sqlx::query_scalar(sql).fetch_one(&pool(&database).await).await.expect("ends it");
    assert_eq!(ended, 1);
    // The relay may have missed a notification, so it wakes.
    woken(&mut arrivals).await;
    shop.place("2", &["mug"]).await;
    woken(&mut arrivals).await;
}

#[tokio::test]
async fn a_store_dropped_listens_no_more() {
    needs_postgres!();
    let database = Lent::new().await;
    let config = PostgresConfig { application_name: "short-lived".to_owned(), ..database.config() };
    let relay = open(&config).await;
    let mut arrivals = relay.arrivals();
    woken(&mut arrivals).await;
    drop(relay);
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'short-lived'";
    let pool = pool(&database).await;
    let gone = async {
        while sqlx::query_scalar::<_, i64>(sql).fetch_one(&pool).await.expect("looks") > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("no connection stays");
}
