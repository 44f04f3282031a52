//! The real haproxy with the settings that `compose/` ships.

use std::{path::Path, process::Stdio};

use tokio::process::{Child, Command};

use super::{free_port, ready};

/// Environment variable with the path of the program; set by `ops/test`.
const PROGRAM: &str = "ORDERWORKS_TEST_HAPROXY";
/// The shipped settings.
pub(crate) const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compose/haproxy.cfg");

/// A running haproxy.
pub(crate) struct Haproxy {
    child: Child,
    /// Where HTTP clients come in.
    pub(crate) address: String,
    /// Where AMQP clients come in.
    pub(crate) amqp: String,
    /// Where Prometheus reads its figures.
    pub(crate) metrics: String,
}

impl Haproxy {
    /// Path of the program; `None`, with the reason printed, if there is none.
    pub(crate) fn program() -> Option<String> {
        let program = std::env::var(PROGRAM).ok();
        if program.is_none() {
            base::testing::skip(&format!("{PROGRAM} is not set; see `ops/services install haproxy`"));
        }
        program
    }

    /// Starts in front of `api`; trusts what `client_proxies` report of their clients.
    pub(crate) async fn start(program: &str, api: &str, client_proxies: Option<&str>) -> Self {
        let proxies = client_proxies.map(|proxies| ("CLIENT_PROXIES", proxies));
        let environment: Vec<_> = proxies.into_iter().chain([("API", api)]).collect();
        let mut proxy = Self::spawn(program, Path::new(SETTINGS), &environment);
        proxy.until_ready().await;
        proxy
    }

    /// Starts with these settings and variables; its servers need not be there yet.
    pub(crate) fn spawn(program: &str, settings: &Path, environment: &[(&str, &str)]) -> Self {
        let [address, amqp, metrics] =
            [free_port(), free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new(program);
        // With fewer connections than configured, as a machine may grant few file descriptors.
        command.args(["-db", "-n", "100", "-f"]).arg(settings);
        command.envs([("BIND", &address), ("BIND_AMQP", &amqp), ("BIND_METRICS", &metrics)]);
        command.envs(environment.iter().copied());
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        Self { child: command.spawn().expect("runs haproxy"), address, amqp, metrics }
    }

    /// Waits until an API behind it is ready.
    pub(crate) async fn until_ready(&mut self) {
        tokio::select! {
            _ = ready(&self.address, |report| report["status"] == "ok") => {}
            ended = self.child.wait() => panic!("haproxy ended: {ended:?}"),
        }
    }
}
