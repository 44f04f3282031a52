//! Schemas that are not this release's, and permissions that are missing.

use sqlx::Executor;
use store_conformance::defects::orders_that_do_not_fit;

use crate::util::postgres;

#[tokio::test]
async fn renamed_column_of_orders_in_postgres() {
    if postgres::skipped() {
        return;
    }
    let database = postgres::migrated().await;
    let store = postgres::open(&database.config()).await;
    let pool = postgres::pool(&database).await;
    pool.execute("ALTER TABLE orders RENAME COLUMN total_minor TO total").await.expect("renames");
    orders_that_do_not_fit(&store).await;
}

#[tokio::test]
async fn revoked_permission_in_postgres() {
    if postgres::skipped() {
        return;
    }
    let database = postgres::migrated().await;
    // Every later connection takes a role that may read nothing of the shop's.
    let sql = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET role = pg_signal_backend', current_database()); END $$";
    postgres::pool(&database).await.execute(sql).await.expect("sets");
    orders_that_do_not_fit(&postgres::open(&database.config()).await).await;
}
