//! The real RabbitMQ server: a virtual host per test, its management API, its command line.
//!
//! Tests that disturb the whole server run alone: see [`Vhost::alone`].

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::{Arc, LazyLock, Once},
    time::Duration,
};

use base::{Ambient, testing::clean_up};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

const URL: &str = "ORDERWORKS_TEST_RABBITMQ_URL";
const MANAGEMENT: &str = "ORDERWORKS_TEST_RABBITMQ_MANAGEMENT_URL";
const TLS_URL: &str = "ORDERWORKS_TEST_RABBITMQ_TLS_URL";
const CA_FILE: &str = "ORDERWORKS_TEST_CA_FILE";
const CTL: &str = "ORDERWORKS_TEST_RABBITMQCTL";
const PREFIX: &str = "ow-test-";
/// Age above which a virtual host belongs to a crashed run.
const LEFTOVER_AFTER_MS: i64 = 30 * 60 * 1000;

static WHOLE: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// Reason why tests with the broker cannot run.
pub(crate) fn skipped() -> Option<String> {
    std::env::var(URL).is_err().then(|| format!("{URL} is not set; see `ops/services up rabbitmq`"))
}

/// Ends the test with a printed reason when no broker is configured.
macro_rules! needs_broker {
    () => {
        if let Some(why) = $crate::util::broker::skipped() {
            orderworks_jobs::conformance::skip(&why);
            return;
        }
    };
}
pub(crate) use needs_broker;

#[expect(clippy::panic, reason = "a test with half of its surroundings must fail, saying which half")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{URL} is set, so {name} must be: `. .services/env`"))
}

enum BrokerCommand {
    Shared(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

/// A virtual host of one test, deleted at its end.
pub(crate) struct Vhost {
    pub(crate) name: String,
    _turn: BrokerCommand,
}

impl Vhost {
    /// For tests that run beside others.
    pub(crate) async fn create() -> Self {
        let turn = BrokerCommand::Shared(WHOLE.clone().read_owned().await);
        Self::with(turn).await
    }

    /// For tests that stop the server or change its settings: no other test runs meanwhile.
    pub(crate) async fn alone() -> Self {
        let turn = BrokerCommand::Alone(WHOLE.clone().write_owned().await);
        Self::with(turn).await
    }

    async fn with(turn: BrokerCommand) -> Self {
        static SWEPT: Once = Once::new();
        let ambient = Ambient::system();
        let name = format!("{PREFIX}{}-{}", ambient.now().as_millisecond(), ambient.uuid().simple());
        let created = name.clone();
        let make = move || {
            SWEPT.call_once(|| sweep(ambient.now().as_millisecond()));
            assert_eq!(
                management("PUT", &format!("/api/vhosts/{created}"), "").0,
                201,
                "creates a virtual host"
            );
        };
        tokio::task::spawn_blocking(make).await.expect("creates");
        Self { name, _turn: turn }
    }

    /// The address of this virtual host.
    pub(crate) fn url(&self) -> String {
        let url = variable(URL);
        let (server, _) = url.rsplit_once('/').expect("an address with a virtual host");
        format!("{server}/{}", self.name)
    }

    /// The address through a proxy.
    pub(crate) fn url_by(&self, port: u16) -> String {
        let url = self.url();
        let (login, rest) = url.rsplit_once('@').expect("an address with a login");
        let (_, vhost) = rest.split_once('/').expect("a virtual host");
        format!("{login}@127.0.0.1:{port}/{vhost}")
    }

    /// Revokes the right of the user of [`Vhost::url`] to write to any exchange or queue.
    pub(crate) async fn forbid_writing(&self) {
        let url = variable(URL);
        let user = url
            .rsplit_once('@')
            .and_then(|(login, _)| login.split("//").nth(1)?.split(':').next().map(str::to_owned));
        let path = format!("/api/permissions/{}/{}", self.name, user.expect("an address with a login"));
        let rights = r#"{"configure":".*","write":"^$","read":".*"}"#;
        let put = tokio::task::spawn_blocking(move || management("PUT", &path, rights).0);
        let status = put.await.expect("asks");
        assert!([201, 204].contains(&status), "{status}");
    }

    /// Sends a request to the management API; `{}` in the path stands for this virtual host.
    pub(crate) async fn ask(&self, method: &'static str, path: &str) -> (u16, String) {
        let path = path.replace("{}", &self.name);
        tokio::task::spawn_blocking(move || management(method, &path, "")).await.expect("asks")
    }

    /// Sends a request with a body, as [`Self::ask`].
    pub(crate) async fn post(&self, path: &str, body: &'static str) -> (u16, String) {
        self.send("POST", path, body).await
    }

    /// Sets the number of connections: `{"value": 0}` lets none in, -1 ends the limit.
    pub(crate) async fn limit_connections(&self, body: &'static str) {
        let (status, answer) = self.send("PUT", "/api/vhost-limits/{}/max-connections", body).await;
        assert!([201, 204].contains(&status), "{status}: {answer}");
    }

    async fn send(&self, method: &'static str, path: &str, body: &'static str) -> (u16, String) {
        let path = path.replace("{}", &self.name);
        tokio::task::spawn_blocking(move || management(method, &path, body)).await.expect("asks")
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let path = format!("/api/vhosts/{}", self.name);
        clean_up(&path.clone(), async move { drop(management("DELETE", &path, "")) });
    }
}

/// TLS address of the server without a virtual host, and the file of its certificate authority.
pub(crate) fn tls() -> Option<(String, std::path::PathBuf)> {
    let (url, ca) = (std::env::var(TLS_URL).ok()?, std::env::var_os(CA_FILE)?);
    let (server, _) = url.rsplit_once('/').expect("an address with a virtual host");
    Some((server.to_owned(), ca.into()))
}

/// Socket address of the server.
pub(crate) fn address() -> SocketAddr {
    let url = variable(URL);
    let (_, rest) = url.rsplit_once('@').expect("an address with a login");
    let host = rest.split('/').next().expect("a host");
    host.to_socket_addrs().expect("resolves").next().expect("an address")
}

/// Runs a command of the server's command line tool.
pub(crate) async fn ctl(command: &str) -> String {
    let line = format!("{} {command}", variable(CTL));
    let run = move || {
        let output = std::process::Command::new("sh").arg("-c").arg(&line).output().expect("runs");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    tokio::task::spawn_blocking(run).await.expect("runs")
}

/// Runs commands of the server's tool when dropped, so that a failed test leaves the server unchanged.
pub(crate) struct Afterwards(pub(crate) &'static [&'static str]);

impl Drop for Afterwards {
    fn drop(&mut self) {
        for command in self.0 {
            let line = format!("{} {command}", variable(CTL));
            let ended = std::process::Command::new("sh").arg("-c").arg(&line).status();
            assert!(std::thread::panicking() || ended.is_ok_and(|status| status.success()), "{line}");
        }
    }
}

fn sweep(now_ms: i64) {
    let (_, vhosts) = management("GET", "/api/vhosts?columns=name", "");
    let names = vhosts.split('"').filter(|text| text.starts_with(PREFIX));
    for name in names {
        let born: i64 = name[PREFIX.len()..].split('-').next().and_then(|t| t.parse().ok()).unwrap_or(now_ms);
        if now_ms - born > LEFTOVER_AFTER_MS {
            management("DELETE", &format!("/api/vhosts/{name}"), "");
        }
    }
}

/// One HTTP exchange; an HTTP client library would be a larger dependency.
fn management(method: &str, path: &str, body: &str) -> (u16, String) {
    let url = variable(MANAGEMENT);
    let (login, host) = url.trim_start_matches("http://").rsplit_once('@').expect("a login");
    let host = host.trim_end_matches('/');
    let mut stream = TcpStream::connect(host).expect("the management API answers");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("sets");
    let login = BASE64_STANDARD.encode(login);
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Basic {login}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("asks");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("answers");
    let status = response.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
