//! A schema that is not this release's.

use store_conformance::defects::payments_that_do_not_fit;

use crate::util::cassandra::Keyspace;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_column_of_payments_in_cassandra() {
    let Some(keyspace) = Keyspace::migrated().await else { return };
    let (store, session) = (keyspace.store().await, keyspace.session().await);
    let table = format!("{}.payments", keyspace.config.keyspace);
    session.query_unpaged(format!("ALTER TABLE {table} DROP amount_minor"), ()).await.expect("drops");
    payments_that_do_not_fit(&store).await;
}
