//! A cluster of three Cassandra nodes that tests may kill, run by `ops/services` in a folder of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use base::testing::skip;

use store_cassandra::CassandraConfig;
use tokio::sync::{Mutex, MutexGuard};

use super::cassandra;

const FOLDER: &str = "ORDERWORKS_TEST_CASSANDRA_RING";

/// The cluster, for one test at a time. When the test fails, the drop restarts all nodes.
pub(crate) struct TestCluster {
    folder: PathBuf,
    nodes: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

impl TestCluster {
    /// `None` (and a printed reason) when there is no cluster.
    pub(crate) async fn take() -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
            skip(&format!("{FOLDER} is not set; see docs/CASSANDRA.md"));
            return None;
        };
        let alone = ALONE.lock().await;
        let ports = std::fs::read_to_string(folder.join("ports")).expect("the ports of the ring");
        let port = ports.lines().find_map(|line| line.strip_prefix("cassandra=")).expect("a port");
        let nodes: Vec<String> = (1..=3).map(|node| format!("127.0.0.{node}:{port}")).collect();
        let ring = Self { folder, nodes, _alone: alone };
        ring.up().await;
        // All scratch keyspaces: no other process uses the cluster, and a test that killed nodes cannot clean up after
        // itself.
        cassandra::sweep(&ring.nodes, 0).await;
        Some(ring)
    }

    /// A fresh keyspace with a copy of each row on every node.
    pub(crate) fn config(&self) -> CassandraConfig {
        CassandraConfig {
            replication: BTreeMap::from([("datacenter1".to_owned(), 3)]),
            ..cassandra::config(self.nodes.iter().map(String::as_str))
        }
    }

    /// Kills a node at once, as a power cut of its machine would.
    pub(crate) fn kill(&self, node: u8) {
        let file = self.folder.join(format!("run/cassandra-{node}.pid"));
        let text = std::fs::read_to_string(&file).expect("a pid file");
        let pid = text.split(' ').next().expect("a pid");
        let status = Command::new("kill").args(["-9", pid]).status().expect("runs kill");
        assert!(status.success(), "node {node} is not running");
    }

    /// Starts the nodes that do not run and waits until all three see each other.
    pub(crate) async fn up(&self) {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || start(&folder)).await.expect("starts");
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            start(&self.folder);
        }
    }
}

fn start(folder: &Path) {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/services");
    let output = Command::new(services)
        .args(["up", "--cassandra", "3", "cassandra"])
        .env("ORDERWORKS_SERVICES_DIR", folder)
        .output()
        .expect("runs ops/services");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
