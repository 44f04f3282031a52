//! Deployment of one measurement: a database and a keyspace of its own, and roles as separate processes of the release
//! build.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use base::{Ambient, testing::scratch::Scratch};
use bench_report::Load;
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};
use store::{
    domain::{KeyId, MerchantId},
    merchants::{KeyRecord, KeyScope, Merchants},
};
use store_cassandra::testing::Keyspace;
use store_postgres::PostgresOrders;
use tempfile::TempDir;

use crate::args::Args;

/// Number of products that orders are spread over, so that the figures are not those of one contended row.
pub(crate) const SKUS: usize = 64;
/// Longest start of a role.
const START_MAX: Duration = Duration::from_mins(1);

/// Deployment of one measurement. On drop its processes are killed and its data is deleted.
pub(crate) struct BenchServers {
    _sandbox: Role,
    pub(crate) database: Scratch,
    _keyspace: Keyspace,
    program: Program,
}

/// The release build, with settings and data folder.
struct Program {
    binary: PathBuf,
    settings: Vec<(String, String)>,
    folder: TempDir,
}

pub(crate) struct Role(Child);

impl Role {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Stops the process (SIGSTOP), so that what it does beside requests is not taken from another one's round.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets the process continue (SIGCONT).
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        ensure!(status.context("cannot start kill")?.success(), "kill {signal} failed");
        Ok(())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // The process may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl BenchServers {
    pub(crate) async fn open(args: &Args) -> anyhow::Result<Self> {
        let (database, keyspace) = (Scratch::create().await, Keyspace::create().await);
        let keyspace = keyspace.context("there is no Cassandra")?;
        let (provider, url) = (free_address()?, database.url());
        let settings = [
            ("ENGINES_QUEUE", "rabbitmq"),
            ("ENGINES_ORDERS", "postgres"),
            ("ENGINES_PAYMENTS", "cassandra"),
            ("RABBITMQ_URL", &args.broker),
            ("POSTGRES_URL", url.expose_secret()),
            ("CASSANDRA_NODES", &format!("{:?}", keyspace.config.nodes)),
            ("CASSANDRA_KEYSPACE", &keyspace.config.keyspace),
            ("CASSANDRA_REPLICATION", "{ datacenter1 = 1 }"),
            ("PAYMENTS_PROVIDER_URL", &format!("http://{provider}/")),
            ("PAYMENTS_PROVIDER_KEY", "bench"),
            ("CHECKOUT_PER_KEY_PER_SECOND", "1000000"),
            ("CHECKOUT_PER_IP_PER_SECOND", "1000000"),
            ("CHECKOUT_BURST", "1000000"),
            ("READS_PER_KEY_PER_SECOND", "1000000"),
            ("WRITES_PER_KEY_PER_SECOND", "1000000"),
            ("LOG_FILTER", "error"),
        ];
        let settings: Vec<_> =
            settings.map(|(key, value)| (format!("ORDERWORKS_{key}"), value.to_owned())).into();
        let program = Program { binary: args.binary.clone(), settings, folder: tempfile::tempdir()? };
        let sandbox = program.start(&["sandbox", "--listen", &provider], &[])?;
        let status = program.command(&["migrate"]).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "cannot migrate");
        Ok(Self { _sandbox: sandbox, database, _keyspace: keyspace, program })
    }

    /// Starts an API process with these further settings, a merchant and products; the load is the merchant's server.
    pub(crate) async fn api(&self, more: &[(&str, &str)]) -> anyhow::Result<(Role, Load, MerchantId)> {
        let (role, address) = self.ready("api", "--listen", more).await?;
        let (ambient, key) = (Ambient::system(), "owk_sec_bench");
        let merchant = MerchantId::fresh(&ambient);
        self.orders(&ambient).await?.ensure_merchant(merchant, "Bench", ambient.now()).await?;
        self.add_key(merchant, KeyScope::Secret, key).await?;
        let load = Load::new(address, key);
        let product =
            json!({ "name": "A thing", "category": "things", "price_minor": 1250, "currency": "EUR" });
        for sku in (0..SKUS).map(sku) {
            load.put(&format!("/v1/products/{sku}"), &product)?;
            load.put(&format!("/v1/inventory/{sku}"), &json!({ "on_hand": 1_000_000_000 }))?;
        }
        Ok((role, load, merchant))
    }

    /// Starts another API process with these further settings; the load is the merchant's shoppers.
    pub(crate) async fn storefront_api(
        &self,
        merchant: MerchantId,
        more: &[(&str, &str)],
    ) -> anyhow::Result<(Role, Load)> {
        let (role, address) = self.ready("api", "--listen", more).await?;
        let key = "owk_pub_bench";
        self.add_key(merchant, KeyScope::Publishable, key).await?;
        Ok((role, Load::new(address, key)))
    }

    async fn orders(&self, ambient: &Ambient) -> anyhow::Result<PostgresOrders> {
        Ok(PostgresOrders::connect(&self.database.config(), ambient.clone()).await?)
    }

    async fn add_key(&self, merchant: MerchantId, scope: KeyScope, key: &str) -> anyhow::Result<()> {
        let ambient = Ambient::system();
        let record = KeyRecord { id: KeyId::fresh(&ambient), merchant, scope };
        let orders = self.orders(&ambient).await?;
        orders.ensure_key(&record, Sha256::digest(key).into(), ambient.now()).await?;
        Ok(())
    }

    /// Starts another role and waits until it is ready.
    pub(crate) async fn role(&self, name: &str) -> anyhow::Result<Role> {
        Ok(self.ready(name, "--health", &[]).await?.0)
    }

    /// Starts a role with these further settings and waits for `200` from `/readyz` at the address that it is given by
    /// `option`.
    async fn ready(&self, name: &str, option: &str, more: &[(&str, &str)]) -> anyhow::Result<(Role, String)> {
        let address = free_address()?;
        let (role, began) = (self.program.start(&[name, option, &address], more)?, Instant::now());
        while !bench_report::is_ready(&address) {
            ensure!(began.elapsed() <= START_MAX, "a role does not get ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok((role, address))
    }
}

impl Program {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--data").arg(self.folder.path()).args(args).envs(self.settings.iter().cloned());
        command.env_remove("ORDERWORKS_CONFIG").stdin(Stdio::null());
        command
    }

    fn start(&self, args: &[&str], more: &[(&str, &str)]) -> anyhow::Result<Role> {
        Ok(Role(self.command(args).envs(more.iter().copied()).stdout(Stdio::null()).spawn()?))
    }
}

/// Body of the order with this number.
pub(crate) fn order(number: usize) -> String {
    format!(
        r#"{{"customer":{{"email":"bench@example.com","name":"Bench"}},"currency":"EUR",
        "items":[{{"sku":"{}","quantity":1}}],"payment_method":"pm_card_visa"}}"#,
        sku(number)
    )
}

fn sku(number: usize) -> String {
    format!("SKU-{:02}", number % SKUS)
}

fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
