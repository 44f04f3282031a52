//! Servers of a fault run: `ops/services` started them in a folder of their own, so they may be killed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use super::plan::Server;

/// Environment variable with the folder; without it no server may be killed.
const FOLDER: &str = "ORDERWORKS_TEST_FAULTS";
/// Longest time from the kill of a server until its processes are gone.
const GONE_MAX: Duration = Duration::from_mins(1);
/// Nodes of the Cassandra cluster.
const NODES: usize = 3;

pub(super) struct Servers(PathBuf);

impl Servers {
    /// The servers of a fault run; `None` where none were started for it.
    pub(super) fn found() -> Option<Self> {
        let folder = std::env::var_os(FOLDER).map(PathBuf::from);
        if folder.is_none() {
            base::testing::skip(&format!("{FOLDER} is not set: run `ops/faults`"));
        }
        folder.map(Self)
    }

    /// Writes the log of all processes beside the servers' logs.
    pub(super) fn keep_log(&self, log: &str) {
        std::fs::write(self.0.join("log/faults.log"), log).expect("writes the log");
    }

    /// Kills a server, waits, and restarts it; returns when it answers.
    pub(super) async fn restart(&self, server: Server, which: usize, down: Duration) {
        let process = match server {
            Server::Postgres => "postgres".to_owned(),
            Server::Broker => "rabbitmq".to_owned(),
            Server::Redis => "redis".to_owned(),
            Server::Cassandra => format!("cassandra-{}", which % NODES + 1),
        };
        self.kill(&process).await;
        tokio::time::sleep(down).await;
        let name = process.split('-').next().unwrap_or(&process);
        let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/services");
        let mut up = Command::new(services);
        up.args(["up", "--cassandra", "3", name]).env("ORDERWORKS_SERVICES_DIR", &self.0);
        let output = up.output().await.expect("runs ops/services");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Kills as a power failure of the machine would: the started process and its children.
    async fn kill(&self, process: &str) {
        let file = self.0.join(format!("run/{process}.pid"));
        let text = std::fs::read_to_string(&file).expect("a pid file");
        let pid: u32 = text.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
        let children = children(pid);
        signal_all(&[pid]).await;
        signal_all(&children).await;
        // A remaining process would keep its port and files from the new server: PostgreSQL counts even a dead process
        // that was not yet waited for as their holder.
        let gone = async {
            while [pid].iter().chain(&children).any(|pid| stat(*pid).is_some()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(GONE_MAX, gone).await.expect("what was killed is gone in time");
    }
}

/// Skips processes that have ended already.
async fn signal_all(pids: &[u32]) {
    for pid in pids.iter().filter(|pid| is_running(**pid)) {
        let sent = Command::new("kill").args(["-9", &pid.to_string()]).output().await;
        assert!(sent.expect("runs kill").status.success() || !is_running(*pid), "{pid} cannot be killed");
    }
}

fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// State and parent (proc(5)); the command's name before them may hold any character.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
