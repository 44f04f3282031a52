//! A role of `orderworks` in a separate process.

use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Client, PATIENCE, orderworks, signal};

/// Address of a broker on a port where no process listens.
pub(crate) fn absent_broker() -> String {
    format!("amqp://guest:guest@127.0.0.1:{}/%2f", free_port())
}

/// Settings of a deployment whose queues are at this broker.
pub(crate) fn rabbitmq_at(url: &str) -> [(&'static str, &str); 2] {
    [("ORDERWORKS_ENGINES_QUEUE", "rabbitmq"), ("ORDERWORKS_RABBITMQ_URL", url)]
}

/// A role in a separate process.
pub(crate) struct Role(Child);

impl Role {
    /// Starts the role; its output is appended to the log in the folder.
    pub(crate) fn start(data: &Path, settings: &[(&str, &str)], args: &[impl AsRef<OsStr>]) -> Self {
        let mut command = orderworks(data);
        command.args(args).envs(settings.iter().copied());
        Self::spawn(command, data)
    }

    /// Starts the command; its output is appended to the log in the folder.
    pub(crate) fn spawn(mut command: Command, folder: &Path) -> Self {
        let log = folder.join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        Self(command.stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn().expect("spawns"))
    }

    /// Starts a relay and waits until its health listener answers; returns it with the address of that.
    pub(crate) async fn relay(data: &Path, settings: &[(&str, &str)]) -> (Self, String) {
        let health = format!("127.0.0.1:{}", free_port());
        let relay = Self::start(data, settings, &["relay", "--health", &health]);
        ready(&health, |_| true).await;
        (relay, health)
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) async fn kill(mut self) {
        self.0.kill().await.expect("kills");
    }

    /// Pauses the process (SIGSTOP).
    pub(crate) async fn pause(&self) {
        signal(&self.0, "-STOP").await;
    }

    /// Resumes the process (SIGCONT).
    pub(crate) async fn wake(&self) {
        signal(&self.0, "-CONT").await;
    }

    /// Sends TERM and waits for the orderly end.
    pub(crate) async fn stop(mut self) {
        signal(&self.0, "-TERM").await;
        let ended =
            tokio::time::timeout(PATIENCE, self.0.wait()).await.expect("stops in time").expect("waits");
        assert!(ended.success(), "{ended}");
    }
}

/// A port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("an address").port()
}

/// The report of `/readyz`, once it satisfies `wanted`.
pub(crate) async fn ready(address: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let client = Client::new(&format!("http://{address}"), "none");
    let asking = async {
        loop {
            if let Some(report) = client.try_get("/readyz").await.filter(|report| wanted(report)) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("readiness changes in time")
}
