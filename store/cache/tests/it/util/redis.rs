//! A real Redis server: each test uses keys with a prefix of its own, which its guard deletes; keys of killed runs are
//! swept.

use std::{net::SocketAddr, net::ToSocketAddrs, time::Duration};

use base::{
    Ambient,
    testing::{clean_up, skip},
};
use cache::{RedisConfig, RedisServer};
use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};
use tokio::sync::OnceCell;

const URL: &str = "ORDERWORKS_TEST_REDIS_URL";
const PREFIX: &str = "ow-test-";
/// Keys older than this belong to a run that was killed.
const LEFTOVER_AFTER_MS: i64 = 30 * 60 * 1000;

/// Whether tests with the server are skipped; prints the reason.
pub(crate) fn skipped() -> bool {
    let missing = std::env::var(URL).is_err();
    if missing {
        skip(&format!("{URL} is not set; see `ops/services up redis`"));
    }
    missing
}

/// The keys of one test.
pub(crate) struct Corner {
    prefix: String,
}

impl Corner {
    pub(crate) async fn create() -> Self {
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        let ambient = Ambient::system();
        let now_ms = ambient.now().as_millisecond();
        SWEPT.get_or_init(|| sweep(now_ms)).await;
        Self { prefix: format!("{PREFIX}{now_ms}-{}", ambient.uuid().simple()) }
    }

    /// A configuration with timeouts that a busy machine does not reach.
    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig {
            prefix: self.prefix.clone(),
            command_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            ..RedisConfig::new(url().into())
        }
    }

    /// The same configuration with another port.
    pub(crate) fn config_by(&self, port: u16) -> RedisConfig {
        let url = url();
        let (login, rest) = url.rsplit_once('@').expect("an address with a login");
        let (_, database) = rest.split_once('/').expect("a database");
        RedisConfig { url: format!("{login}@127.0.0.1:{port}/{database}").into(), ..self.config() }
    }

    pub(crate) fn server(&self) -> RedisServer {
        RedisServer::new(&self.config(), Ambient::system()).expect("an address")
    }

    /// All keys of this test.
    pub(crate) async fn keys(&self) -> Vec<String> {
        scan(&mut connect().await, &format!("{}*", self.prefix)).await
    }

    /// Milliseconds until a key expires; negative when it never does.
    pub(crate) async fn ttl_ms(&self, key: &str) -> i64 {
        redis::cmd("PTTL").arg(key).query_async(&mut connect().await).await.expect("asks")
    }
}

impl Drop for Corner {
    fn drop(&mut self) {
        let pattern = format!("{}*", self.prefix);
        let what = format!("keys {pattern}");
        clean_up(&what, async move {
            let mut connection = connect().await;
            let keys = scan(&mut connection, &pattern).await;
            delete(&mut connection, &keys).await;
        });
    }
}

/// A login of a test that lacks a right, deleted with it.
pub(crate) struct User(String);

impl User {
    /// May run every command but the given one, such as `-set`.
    pub(crate) async fn without(command: &str) -> Self {
        let ambient = Ambient::system();
        let user = Self(format!("{PREFIX}{}-{}", ambient.now().as_millisecond(), ambient.uuid().simple()));
        let mut set = redis::cmd("ACL");
        set.arg("SETUSER").arg(&user.0).arg(&["reset", "on", ">secret", "~*", "&*", "+@all"]).arg(command);
        set.query_async::<()>(&mut connect().await).await.expect("makes a user");
        user
    }

    pub(crate) fn url(&self) -> String {
        let url = url();
        let (_, rest) = url.rsplit_once('@').expect("an address with a login");
        format!("redis://{}:secret@{rest}", self.0)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let user = self.0.clone();
        let what = format!("user {user}");
        clean_up(&what, async move {
            let mut delete = redis::cmd("ACL");
            delete.arg("DELUSER").arg(&user);
            delete.query_async::<()>(&mut connect().await).await.expect("deletes the user");
        });
    }
}

/// Address of the server.
pub(crate) fn address() -> SocketAddr {
    let url = url();
    let (_, rest) = url.rsplit_once('@').expect("an address with a login");
    let host = rest.split('/').next().expect("a host");
    host.to_socket_addrs().expect("resolves").next().expect("an address")
}

fn url() -> String {
    std::env::var(URL).expect("a server to test with")
}

async fn connect() -> MultiplexedConnection {
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
    let client = Client::open(url()).expect("an address");
    client.get_multiplexed_async_connection_with_config(&patient).await.expect("connects")
}

async fn scan(connection: &mut MultiplexedConnection, pattern: &str) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), 0_u64);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
        let (next, some): (u64, Vec<String>) = scan.query_async(connection).await.expect("scans");
        keys.extend(some);
        cursor = next;
        if cursor == 0 {
            return keys;
        }
    }
}

async fn delete(connection: &mut MultiplexedConnection, keys: &[String]) {
    if !keys.is_empty() {
        redis::cmd("UNLINK").arg(keys).query_async::<()>(connection).await.expect("deletes");
    }
}

async fn sweep(now_ms: i64) {
    let mut connection = connect().await;
    let mut old = scan(&mut connection, &format!("{PREFIX}*")).await;
    old.retain(|key| {
        let born = key[PREFIX.len()..].split('-').next().and_then(|millis| millis.parse().ok());
        now_ms - born.unwrap_or(now_ms) > LEFTOVER_AFTER_MS
    });
    delete(&mut connection, &old).await;
}
