//! Scratch keyspaces, one for each test, on the cluster that `ORDERWORKS_TEST_CASSANDRA_NODES` names.
//!
//! Guarantees: dropped with their [`Keyspace`]; keyspaces left by a killed run are dropped by a later one.

use std::{collections::BTreeMap, time::Duration};

use base::{
    Ambient,
    testing::{clean_up, skip},
};
use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    statement::unprepared::Statement,
};
use tokio::sync::OnceCell;

use super::{CassandraConfig, CassandraPayments};

const NODES: &str = "ORDERWORKS_TEST_CASSANDRA_NODES";
const PREFIX: &str = "ow_test_";
/// An older keyspace belongs to a run that crashed.
const LEFTOVER_AFTER_MS: i64 = 30 * 60 * 1000;

/// The keyspace of one test.
pub struct Keyspace {
    pub config: CassandraConfig,
}

impl Keyspace {
    /// A keyspace that does not exist yet; `None` (and a printed reason) when there is no server.
    pub async fn create() -> Option<Self> {
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        let Ok(nodes) = std::env::var(NODES) else {
            skip(&format!("{NODES} is not set; see `ops/services up cassandra`"));
            return None;
        };
        let keyspace = Self { config: config(nodes.split(',')) };
        SWEPT.get_or_init(|| sweep(&keyspace.config.nodes, LEFTOVER_AFTER_MS)).await;
        Some(keyspace)
    }

    /// A keyspace with the schema.
    pub async fn migrated() -> Option<Self> {
        let keyspace = Self::create().await?;
        CassandraPayments::migrate(&keyspace.config, &Ambient::system()).await.expect("migrates");
        Some(keyspace)
    }

    /// A further store on the keyspace, with connections of its own.
    pub async fn store(&self) -> CassandraPayments {
        CassandraPayments::connect(&self.config, Ambient::system()).await.expect("connects")
    }

    /// A driver session, for statements that a store does not run.
    pub async fn session(&self) -> Session {
        session(&self.config.nodes).await
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        let (nodes, name) = (self.config.nodes.clone(), self.config.keyspace.clone());
        let what = format!("keyspace {name}");
        clean_up(&what, async move { drop_keyspace(&session(&nodes).await, &name).await });
    }
}

/// Settings of a fresh keyspace with one copy of each row.
pub fn config<'a>(nodes: impl Iterator<Item = &'a str>) -> CassandraConfig {
    let ambient = Ambient::system();
    let tail = ambient.uuid().simple().to_string();
    CassandraConfig {
        keyspace: format!("{PREFIX}{}_{}", ambient.now().as_millisecond(), &tail[20..]),
        replication: BTreeMap::from([("datacenter1".to_owned(), 1)]),
        ..CassandraConfig::new(nodes)
    }
}

async fn session(nodes: &[String]) -> Session {
    let builder = SessionBuilder::new().known_nodes(nodes).fetch_schema_metadata(false);
    builder.schema_agreement_interval(Duration::from_millis(25)).build().await.expect("connects")
}

/// Drops the keyspaces of tests that are older than `older_than_ms`.
pub async fn sweep(nodes: &[String], older_than_ms: i64) {
    let session = session(nodes).await;
    let now = Ambient::system().now().as_millisecond();
    let rows = session.query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces", ()).await;
    let rows = rows.expect("reads").into_rows_result().expect("rows");
    for row in rows.rows::<(String,)>().expect("names") {
        let (name,) = row.expect("a name");
        let made = name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()?.parse::<i64>().ok());
        if made.is_some_and(|made| made < now - older_than_ms) {
            drop_keyspace(&session, &name).await;
        }
    }
}

/// Fails no test: a node that was killed may be back, and its schema not yet agreed with the others. The next sweep
/// drops what is left.
#[expect(clippy::print_stderr, reason = "for the reader of the test run")]
async fn drop_keyspace(session: &Session, name: &str) {
    let mut statement = Statement::new(format!("DROP KEYSPACE IF EXISTS {name}"));
    statement.set_request_timeout(Some(Duration::from_secs(30)));
    if let Err(error) = session.query_unpaged(statement, ()).await {
        eprintln!("keyspace {name} is left to a later run: {error}");
    }
}
