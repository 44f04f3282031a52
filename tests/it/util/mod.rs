//! Test harness: a [`Dev`] is a running `orderworks dev` over a data folder; [`Dev::kill`] is `kill -9`, [`Dev::stop`]
//! is TERM. A [`Receiver`] is a merchant's real HTTP listener, a [`Collector`] that of traces. A [`Client`] sends
//! requests with one key.

pub(crate) mod audit;
mod broker;
mod browser;
mod client;
mod collector;
pub(crate) mod containers;
pub(crate) mod exemplars;
pub(crate) mod haproxy;
mod receiver;
mod role;
#[path = "../../../workers/tests/it/util/stripe/mod.rs"]
#[expect(dead_code, reason = "a part of it is for tests of the jobs")]
mod stripe;
mod test_servers;
pub(crate) mod traced;
mod unknown_job;

pub(crate) use broker::{Vhost, missing as missing_broker};
pub(crate) use browser::Browser;
pub(crate) use client::{Client, fetch, http, http_builder, order};
pub(crate) use collector::{CollectedSpan, Collector};
pub(crate) use haproxy::Haproxy;
pub(crate) use receiver::Receiver;
pub(crate) use role::{Role, absent_broker, free_port, rabbitmq_at, ready};
pub(crate) use stripe::StripeServer;
pub(crate) use test_servers::{TestMerchant, TestServers, mails_to};
pub(crate) use unknown_job::Unknown;

use std::{path::Path, process::Stdio, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Longest wait in any test; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Output of `dev --json` when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ready {
    pub(crate) url: String,
    pub(crate) publishable_key: String,
    pub(crate) secret_key: String,
    pub(crate) ledger_url: String,
    pub(crate) provider_key: String,
    pub(crate) mail_folder: std::path::PathBuf,
    pub(crate) console_url: String,
}

/// Longest audit, of the orders of half an hour.
const AUDIT_MAX: Duration = Duration::from_mins(10);

/// Serialises tests that keep many processes busy: two of them at once would run into each other's timeouts.
pub(crate) async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

/// A running `orderworks dev`.
pub(crate) struct Dev {
    child: Child,
    pub(crate) ready: Ready,
}

impl Dev {
    /// Starts over `data` and waits until it is ready.
    pub(crate) async fn start(data: &Path) -> Self {
        Self::start_with(data, &[]).await
    }

    /// [`Dev::start`] with further settings, as environment variables.
    pub(crate) async fn start_with(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn(orderworks(data), data, settings).await
    }

    /// [`Dev::start`] in a shell with this setting, such as `umask 022`.
    pub(crate) async fn start_in_shell(data: &Path, set: &str) -> Self {
        let plain = orderworks(data);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{set} && exec \"$0\" \"$@\"")]);
        command.arg(plain.as_std().get_program()).args(plain.as_std().get_args());
        command.env_remove("ORDERWORKS_CONFIG");
        Self::spawn(command, data, &[]).await
    }

    async fn spawn(mut command: Command, data: &Path, settings: &[(&str, &str)]) -> Self {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(data.join("log")).expect("a log file");
        let mut child = command
            .args(["dev", "--json", "--listen", "127.0.0.1:0"])
            .env("ORDERWORKS_CHECKOUT_PER_KEY_PER_SECOND", "100000")
            .env("ORDERWORKS_CHECKOUT_PER_IP_PER_SECOND", "100000")
            .env("ORDERWORKS_CHECKOUT_BURST", "100000")
            .env("ORDERWORKS_CARD_TESTING_SANDBOX_BOUND", "1000000")
            .env("ORDERWORKS_READS_PER_KEY_PER_SECOND", "100000")
            .env("ORDERWORKS_WRITES_PER_KEY_PER_SECOND", "100000")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("spawns");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line =
            tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("ready in time").expect("reads");
        let Some(line) = line else {
            let log = std::fs::read_to_string(data.join("log")).unwrap_or_default();
            panic!("ended before it was ready: {log}");
        };
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        Self { child, ready }
    }

    pub(crate) fn merchant(&self) -> Client {
        Client::new(&self.ready.url, &self.ready.secret_key)
    }

    pub(crate) fn storefront(&self) -> Client {
        Client::new(&self.ready.url, &self.ready.publishable_key)
    }

    /// Sends a signal such as `-TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Waits for the end and returns the exit status.
    pub(crate) async fn ended(mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("stops in time").expect("waits")
    }

    /// The process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id().expect("running")
    }

    /// The address of the API.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.ready.url.trim_start_matches("http://").parse().expect("an address")
    }

    /// Pauses the process (SIGSTOP).
    pub(crate) async fn pause(&self) {
        signal(&self.child, "-STOP").await;
    }

    /// Resumes the process (SIGCONT).
    pub(crate) async fn wake(&self) {
        signal(&self.child, "-CONT").await;
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("kills");
    }

    /// Sends TERM without waiting.
    pub(crate) async fn terminate(&self) {
        signal(&self.child, "-TERM").await;
    }

    /// Sends TERM and returns the exit status.
    pub(crate) async fn stop(self) -> std::process::ExitStatus {
        self.signal("-TERM").await;
        self.ended().await
    }
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Sends a signal to a running process.
async fn signal(child: &Child, signal: &str) {
    let pid = child.id().expect("running").to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.expect("runs kill").success());
}

/// The binary (or the one in `ORDERWORKS_TEST_BINARY`, such as the release build) over a data folder, without inherited
/// settings of Orderworks.
pub(crate) fn orderworks(data: &Path) -> Command {
    let built = env!("CARGO_BIN_EXE_orderworks").into();
    let mut command = Command::new(std::env::var_os("ORDERWORKS_TEST_BINARY").unwrap_or(built));
    command.arg("--data").arg(data).env_remove("ORDERWORKS_CONFIG");
    // No test but those of the stop itself has a balancer that must notice it.
    command.env("ORDERWORKS_SERVER_READINESS_LEAD_SECONDS", "0");
    command
}

/// Runs a command to its end; returns whether it succeeded, standard output, standard error.
pub(crate) async fn run(data: &Path, args: &[&str]) -> (bool, String, String) {
    run_with(data, &[], args).await
}

/// [`run`] with further settings, as environment variables.
pub(crate) async fn run_with(
    data: &Path,
    settings: &[(&str, &str)],
    args: &[&str],
) -> (bool, String, String) {
    let mut command = orderworks(data);
    command.args(args).envs(settings.iter().copied());
    let child = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let done = tokio::time::timeout(PATIENCE, child).await.expect("ends in time").expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (done.status.success(), text(done.stdout), text(done.stderr))
}

/// Exit status, violations, and the summary or, without one, standard error.
pub(crate) type VerifyReport = (Option<i32>, Vec<Value>, Value);

/// Runs `verify` with these arguments and settings, and `--json`.
pub(crate) async fn verify(data: &Path, settings: &[(&str, &str)], args: &[&str]) -> VerifyReport {
    let mut command = orderworks(data);
    command.args(["--json", "verify"]).args(args).envs(settings.iter().copied()).stdin(Stdio::null());
    let done = tokio::time::timeout(AUDIT_MAX, command.output()).await.expect("ends in time").expect("runs");
    let out = String::from_utf8(done.stdout).expect("UTF-8");
    let mut lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let summary = lines.pop().unwrap_or_else(|| String::from_utf8_lossy(&done.stderr).into_owned().into());
    (done.status.code(), lines, summary)
}

/// [`run`] with `--json`; returns the parsed result.
pub(crate) async fn run_json(data: &Path, args: &[&str]) -> serde_json::Value {
    let (ok, out, err) = run(data, &[&["--json"], args].concat()).await;
    assert!(ok, "{args:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// The answer of [`run_json`] once it is as wanted.
pub(crate) async fn until(
    data: &Path,
    args: &[&str],
    wanted: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = run_json(data, args).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{args:?}: {answer}");
    }
}
