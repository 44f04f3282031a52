//! The column of the outbox that says what is set aside: what it costs a lease, and what it saves those who look.

use base::{postgres::PostgresConfig, testing::scratch::Scratch};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row};
use store_postgres::statements;

use super::{needs_postgres, shop::shop};
use crate::util::postgres::{migrated, pool};

/// A backlog with a few messages that are set aside, the newest ones.
const FILL: &str = "
    INSERT INTO outbox_unsent (position, id, subject, at)
        SELECT n, gen_random_uuid(), gen_random_uuid(), now() FROM generate_series(1, 20000) AS n;
    UPDATE outbox_unsent SET relay = 'set aside', leased_until = now() WHERE position > 19990;
    ANALYZE outbox_unsent";

fn statement(name: &str) -> &'static str {
    statements::ALL.iter().find(|(known, _)| *known == name).expect("is listed").1
}

async fn as_the_store_does(database: &Scratch) -> PgConnection {
    let config = PostgresConfig { by_index: true, ..database.config() };
    config.pool_options().expect("an address").connect().await.expect("connects")
}

async fn run(connection: &mut PgConnection, sql: String) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.expect("runs");
}

#[tokio::test]
async fn a_lease_stays_heap_only() {
    needs_postgres!();
    let database = migrated().await;
    let shop = shop(&database.config()).await;
    for order in 0..3 {
        shop.place(&order.to_string(), &["a"]).await;
    }
    let mut connection = as_the_store_does(&database).await;
    let sql = statement("outbox::CLAIM");
    let prepare = format!("BEGIN; PREPARE claim (text, timestamptz, timestamptz, bigint) AS {sql}");
    run(&mut connection, prepare).await;
    run(&mut connection, "EXECUTE claim ('relay', now() + interval '30 s', now(), 100)".to_owned()).await;
    let counted =
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'outbox_unsent'";
    let row = connection.fetch_one(sqlx::raw_sql(counted)).await.expect("counts");
    let (updated, heap_only): (i64, i64) = (row.get(0), row.get(1));
    assert!(updated >= 3, "{updated} messages claimed");
    assert_eq!(heap_only, updated, "an indexed column has changed");
}

#[tokio::test]
async fn what_is_set_aside_is_found_without_a_walk_over_the_backlog() {
    needs_postgres!();
    let database = migrated().await;
    pool(&database).await.execute(FILL).await.expect("fills");
    let mut connection = as_the_store_does(&database).await;
    let cases: [(&str, &str, &[&str]); 2] = [
        ("outbox::LIST", "100", &["outbox_unsent_set_aside"]),
        ("outbox::BACKLOG", "250000", &["outbox_unsent_pkey", "outbox_unsent_set_aside"]),
    ];
    for (name, values, indexes) in cases {
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let sql = statement(name);
            let prepare = format!("SET plan_cache_mode = {mode}; PREPARE looked_at (bigint) AS {sql}");
            run(&mut connection, prepare).await;
            let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE looked_at ({values})"));
            let rows = connection.fetch_all(sqlx::raw_sql(explain)).await.expect("explains");
            run(&mut connection, "DEALLOCATE looked_at".to_owned()).await;
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            let by_index = indexes.iter().all(|index| plan.contains(index));
            assert!(by_index, "{name} ({mode}) reads not by {indexes:?}:\n{plan}");
        }
    }
}
