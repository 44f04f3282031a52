//! Migrations on Cassandra: concurrent, after a crash, and on schemas of other releases.

use base::{Ambient, ids::Uuid};
use store_cassandra::{CassandraConfig, CassandraConnectError, CassandraPayments};

use crate::util::cassandra::Keyspace;

const ALL: [&str; 3] = ["0001_payments.cql", "0002_lookups.cql", "0003_charge.cql"];

async fn migrate(config: &CassandraConfig) -> Result<Vec<&'static str>, CassandraConnectError> {
    CassandraPayments::migrate(config, &Ambient::system()).await
}

async fn refused(keyspace: &Keyspace) -> String {
    let connected = CassandraPayments::connect(&keyspace.config, Ambient::system()).await;
    let error = connected.err().expect("fails");
    assert!(!error.is_retryable(), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_apply_each_migration_once() {
    let Some(keyspace) = Keyspace::create().await else { return };
    let text = refused(&keyspace).await;
    assert!(text.contains("no schema") && text.contains("migrate"), "{text}");
    let (one, two) = tokio::join!(migrate(&keyspace.config), migrate(&keyspace.config));
    let mut answers = [one.expect("migrates"), two.expect("migrates")];
    answers.sort();
    assert_eq!(answers, [vec![], ALL.to_vec()], "one works, the other finds nothing to do");
    keyspace.store().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_holders_lock_lapses_and_lost_records_are_made_again() {
    let Some(keyspace) = Keyspace::migrated().await else { return };
    let (session, name) = (keyspace.session().await, &keyspace.config.keyspace);
    // The state left by a process that was killed after its last statement and before recording the migration.
    let lock = format!(
        "INSERT INTO {name}.schema_lock (name, owner) VALUES ('migrate', ?) IF NOT EXISTS USING TTL 2"
    );
    session.query_unpaged(lock, (Uuid::from_u128(1),)).await.expect("locks");
    let forget = format!("DELETE FROM {name}.schema_migrations WHERE version = 3");
    session.query_unpaged(forget, ()).await.expect("forgets");
    let text = refused(&keyspace).await;
    assert!(text.contains("version 2") && text.contains("needs 3"), "{text}");
    assert_eq!(migrate(&keyspace.config).await.expect("migrates"), [ALL[2]]);
    keyspace.store().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_of_other_releases_are_told_apart() {
    let Some(keyspace) = Keyspace::migrated().await else { return };
    let (session, name) = (keyspace.session().await, &keyspace.config.keyspace);
    let record =
        format!("INSERT INTO {name}.schema_migrations (version, name, checksum) VALUES (?, 'x', 'x')");

    session.query_unpaged(record.as_str(), (4,)).await.expect("records");
    let text = refused(&keyspace).await;
    assert!(text.contains("version 4") && text.contains("knows 3"), "{text}");
    assert!(matches!(migrate(&keyspace.config).await, Err(CassandraConnectError::SchemaTooNew { .. })));

    session
        .query_unpaged(format!("DELETE FROM {name}.schema_migrations WHERE version = 4"), ())
        .await
        .expect("forgets");
    session.query_unpaged(record, (3,)).await.expect("changes");
    let text = refused(&keyspace).await;
    assert!(text.contains("migration 3") && text.contains("not the one"), "{text}");
}
