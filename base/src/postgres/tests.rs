//! Tests on a real server: timeouts, classes of errors, retries, concurrent migrations.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use sqlx::{
    Row,
    migrate::{MigrateError, Migration, MigrationType},
};

use super::{class::TRIES_MAX, *};
use crate::{
    Ambient,
    testing::scratch::{self, Scratch},
};

macro_rules! needs_server {
    () => {
        if let Some(why) = scratch::skipped() {
            eprintln!("skipped: {why}");
            return;
        }
    };
}

fn migrator(sql: &'static str) -> Migrator {
    let step = Migration::new(1, "first".into(), MigrationType::Simple, sql.into_sql_str(), false);
    Migrator::with_migrations(vec![step])
}

async fn sql(database: &Database, sql: &'static str) -> Result<(), sqlx::Error> {
    let mut session = database.session().await?;
    database.query(sql).execute(&mut *session).await?;
    session.done().await
}

#[tokio::test]
async fn limits_hold_in_every_session_with_and_without_a_bouncer() {
    needs_server!();
    let scratch = Scratch::create().await;
    for pgbouncer in [false, true] {
        let statement_timeout = Duration::from_millis(50);
        let config = PostgresConfig { pgbouncer, statement_timeout, pool_max: 1, ..scratch.config() };
        let database = connect(&config).await.expect("connects");
        database.ping().await.expect("answers");
        let slow = sql(&database, "SELECT pg_sleep(10)").await.expect_err("is cut off");
        assert_eq!(classify(&slow), Class::Timeout);
        let mut session = database.session().await.expect("a connection");
        let named = database.query("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''");
        let named: i64 = named.fetch_one(&mut *session).await.expect("counts").get(0);
        assert_eq!(named > 0, !pgbouncer, "statements with names");
        drop(session);
        database.close();
    }
}

#[tokio::test]
async fn errors_fall_into_their_classes() {
    needs_server!();
    let scratch = Scratch::create().await;
    let database = connect(&scratch.config()).await.expect("connects");
    sql(&database, "CREATE TABLE t (v int PRIMARY KEY CHECK (v > 0), r int REFERENCES t)")
        .await
        .expect("creates");
    sql(&database, "INSERT INTO t VALUES (1)").await.expect("inserts");
    let wanted = [
        ("INSERT INTO t VALUES (1)", Class::UniqueViolation),
        ("INSERT INTO t VALUES (0)", Class::CheckViolation),
        ("INSERT INTO t VALUES (2, 9)", Class::ForeignKeyViolation),
        ("SELECT nothing", Class::Defect),
    ];
    for (text, class) in wanted {
        assert_eq!(classify(&sql(&database, text).await.expect_err("fails")), class, "{text}");
    }
    database.close();
    assert_eq!(classify(&sql(&database, "SELECT 1").await.expect_err("closed")), Class::Unavailable);
}

#[tokio::test]
async fn writers_in_each_others_way_all_succeed() {
    needs_server!();
    let scratch = Scratch::create().await;
    let database = connect(&scratch.config()).await.expect("connects");
    sql(&database, "CREATE TABLE t (v int)").await.expect("creates");
    sql(&database, "INSERT INTO t VALUES (0)").await.expect("inserts");
    let (ambient, runs) = (Ambient::system(), AtomicU32::new(0));
    let raise = || async {
        runs.fetch_add(1, Ordering::Relaxed);
        let mut tx = database.begin().await?;
        database.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
        database.query("SELECT v FROM t").fetch_one(&mut *tx).await?;
        database.query("UPDATE t SET v = v + 1").execute(&mut *tx).await?;
        tx.commit().await
    };
    let done = join_all((0..3).map(|_| retry_serialization(&ambient, raise))).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let mut session = database.session().await.expect("a connection");
    let value: i32 = sqlx::query_scalar("SELECT v FROM t").fetch_one(&mut *session).await.expect("reads");
    assert_eq!(value, 3);
    assert!(runs.into_inner() >= 3);
}

#[tokio::test]
async fn a_conflict_without_end_is_given_up() {
    needs_server!();
    let scratch = Scratch::create().await;
    let database = connect(&scratch.config()).await.expect("connects");
    let runs = AtomicU32::new(0);
    let fail = || {
        runs.fetch_add(1, Ordering::Relaxed);
        sql(&database, "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
    };
    let given_up = retry_serialization(&Ambient::system(), fail).await.expect_err("never succeeds");
    assert_eq!((classify(&given_up), runs.into_inner()), (Class::Serialization, TRIES_MAX));
}

#[tokio::test]
async fn processes_that_start_together_migrate_once() {
    needs_server!();
    let scratch = Scratch::create().await;
    let config = PostgresConfig { lock_timeout: Duration::from_millis(20), ..scratch.config() };
    let slow = "SELECT pg_sleep(0.1); CREATE TABLE t (v int)";
    let done = join_all((0..4).map(|_| migrate(&config, migrator(slow), "history"))).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let changed = migrate(&config, migrator("SELECT 1"), "history").await;
    assert!(matches!(changed, Err(OpenError::Migrate(MigrateError::VersionMismatch(1)))), "{changed:?}");
}

#[tokio::test]
async fn no_error_and_no_debug_text_shows_the_password() {
    let url = SecretString::from("postgres://who:hunter2@127.0.0.1:1/none");
    let config =
        PostgresConfig { acquire_timeout: Duration::from_secs(1), ..PostgresConfig::new(url, "test") };
    // A server that is away may come; until then each call says so.
    let refused = connect(&config).await.expect("an address").ping().await.expect_err("no server listens");
    assert_eq!(classify(&refused), Class::Unavailable);
    let bad = PostgresConfig { url: "postgres://who:hunter2@[".into(), ..config.clone() };
    let unreadable = connect(&bad).await.expect_err("no address");
    assert!(matches!(unreadable, OpenError::Address));
    let shown = format!("{config:?} {refused:?} {refused} {unreadable:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
