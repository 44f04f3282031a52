//! Schemas that are not this release's.

use std::path::Path;

use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use store_conformance::defects::{orders_that_do_not_fit, payments_that_do_not_fit};

use crate::util;

async fn alter(file: &Path, statement: &'static str) {
    let mut other = SqliteConnectOptions::new().filename(file).connect().await.expect("connects");
    other.execute(statement).await.expect("alters");
}

#[tokio::test]
async fn renamed_column_of_orders_in_sqlite() {
    let (store, folder) = util::orders().await;
    alter(&folder.path().join("orders.db"), "ALTER TABLE orders RENAME COLUMN merchant_id TO shop").await;
    orders_that_do_not_fit(&*store).await;
}

#[tokio::test]
async fn renamed_column_of_payments_in_sqlite() {
    let (store, folder) = util::payments().await;
    let rename = "ALTER TABLE payments RENAME COLUMN amount_minor TO amount";
    alter(&folder.path().join("payments.db"), rename).await;
    payments_that_do_not_fit(&*store).await;
}
