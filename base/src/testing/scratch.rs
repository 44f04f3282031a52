//! Scratch databases, one for each test, on the server that `ORDERWORKS_TEST_POSTGRES_URL` names.
//!
//! Guarantees: dropped with their [`Scratch`]; databases left by a killed run are dropped by a later one.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "test code: a panic is how a test fails")]

use std::{str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::OnceCell;

use super::{Proxy, clean_up};
use crate::{Ambient, postgres::PostgresConfig};

const URL: &str = "ORDERWORKS_TEST_POSTGRES_URL";
const PREFIX: &str = "ow_test_";
/// A role with rights to its databases only, and its password.
const OWNER: &str = "ow_test_owner";
/// An older database belongs to a run that was killed.
const LEFTOVER_AFTER: Duration = Duration::from_mins(30);

/// The reason why tests with a server are skipped, if they are.
pub fn skipped() -> Option<String> {
    std::env::var(URL).is_err().then(|| format!("{URL} is not set; see `ops/services up postgres`"))
}

/// The database of one test, dropped at its end.
pub struct Scratch {
    name: String,
}

impl Scratch {
    /// Creates an empty database.
    pub async fn create() -> Self {
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        let ambient = Ambient::system();
        let now_ms = ambient.now().as_millisecond();
        let mut server = server().await;
        SWEPT.get_or_init(|| sweep(now_ms)).await;
        let name = format!("{PREFIX}{now_ms}_{}", ambient.uuid().simple());
        run(&mut server, format!("CREATE DATABASE {name}")).await.expect("creates a database");
        server.close().await.expect("closes");
        Self { name }
    }

    /// The address of the database.
    pub fn url(&self) -> SecretString {
        let (server, _) =
            url().rsplit_once('/').map(|(s, d)| (s.to_owned(), d.to_owned())).expect("a database");
        format!("{server}/{}", self.name).into()
    }

    /// The address of the database for a role that owns it and has no other rights on the server, as recommended for
    /// production.
    pub async fn url_of_owner(&self) -> SecretString {
        let mut server = server().await;
        // One role for all tests, so that none is left over; several tests may create it at once.
        let role = format!(
            "DO $$ BEGIN CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{OWNER}';
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        );
        run(&mut server, role).await.expect("creates a role");
        let owned = format!("ALTER DATABASE {} OWNER TO {OWNER}", self.name);
        run(&mut server, owned).await.expect("gives the database away");
        server.close().await.expect("closes");
        let url = self.url();
        let (scheme, rest) = url.expose_secret().split_once("://").expect("an address");
        let (_, place) = rest.split_once('@').expect("a user");
        format!("{scheme}://{OWNER}:{OWNER}@{place}").into()
    }

    /// A pool for inspecting the database beside the code under test.
    pub async fn pool(&self) -> PgPool {
        let url = self.url();
        PgPoolOptions::new().max_connections(4).connect(url.expose_secret()).await.expect("connects")
    }

    /// The default limits for the database, with few connections: a server has no room for the full pools of many
    /// tests.
    pub fn config(&self) -> PostgresConfig {
        PostgresConfig { pool_max: 4, ..PostgresConfig::new(self.url(), "test") }
    }

    /// A proxy before the server, and [`Scratch::config`] through it.
    pub async fn behind_proxy(&self) -> (Proxy, PostgresConfig) {
        let url = self.url();
        let proxy = Proxy::to(url.expose_secret()).await;
        let config = PostgresConfig { url: proxy.address(url.expose_secret()).into(), ..self.config() };
        (proxy, config)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let what = format!("database {name}");
        clean_up(&what, async move {
            drop_database(&mut server().await, &name).await.expect("drops the database");
        });
    }
}

fn url() -> String {
    std::env::var(URL).expect("a server to test with")
}

async fn server() -> PgConnection {
    let options = PgConnectOptions::from_str(&url()).expect("an address").disable_statement_logging();
    options.connect().await.expect("connects")
}

async fn run(server: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    server.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop)
}

async fn drop_database(server: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    run(server, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
}

async fn sweep(now_ms: i64) {
    let mut server = server().await;
    let names = server.fetch_all("SELECT datname::text FROM pg_database WHERE datname LIKE 'ow\\_test\\_%'");
    for row in names.await.expect("lists databases") {
        let name: String = row.get(0);
        let born = name[PREFIX.len()..].split('_').next().and_then(|millis| millis.parse().ok());
        let age = Duration::from_millis(u64::try_from(now_ms - born.unwrap_or(now_ms)).unwrap_or(0));
        if age > LEFTOVER_AFTER {
            // Another run may be sweeping too.
            drop(drop_database(&mut server, &name).await);
        }
    }
}
