//! Deployment of one measurement: a database and a keyspace of its own, and roles as separate processes of the release
//! build.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use base::{Ambient, postgres::scratch::Scratch};
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};
use store::{
    domain::{KeyId, MerchantId},
    merchants::{KeyRecord, KeyScope, Merchants},
};
use store_cassandra::scratch::Keyspace;
use store_postgres::PostgresOrders;
use tempfile::TempDir;

use crate::{
    args::Args,
    load::{self, Load, SKUS, sku},
};

/// Longest start of a role.
const START_MAX: Duration = Duration::from_mins(1);

/// Deployment of one measurement. On drop its processes are killed and its data is deleted.
pub(crate) struct BenchServers {
    binary: PathBuf,
    settings: Vec<(String, String)>,
    _sandbox: Role,
    pub(crate) database: Scratch,
    _keyspace: Keyspace,
    folder: TempDir,
}

/// A running process.
pub(crate) struct Role(Child);

impl Role {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
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
        let (folder, provider) = (tempfile::tempdir()?, format!("127.0.0.1:{}", free_port()?));
        let url = database.url();
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
            ("LOG_FILTER", "error"),
        ];
        let settings: Vec<_> =
            settings.map(|(key, value)| (format!("ORDERWORKS_{key}"), value.to_owned())).into();
        let sandbox = start(&args.binary, &folder, &settings, &["sandbox", "--listen", &provider])?;
        let binary = args.binary.clone();
        let stage = Self { binary, settings, _sandbox: sandbox, database, _keyspace: keyspace, folder };
        let status = stage.command(&["migrate"]).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "cannot migrate");
        Ok(stage)
    }

    /// Starts an API process with a merchant and products.
    pub(crate) async fn api(&self) -> anyhow::Result<(Role, Load)> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let role = start(&self.binary, &self.folder, &self.settings, &["api", "--listen", &address])?;
        until_ready(&address).await?;
        let (ambient, key) = (Ambient::system(), "owk_sec_bench".to_owned());
        let (merchant, now) = (MerchantId::fresh(&ambient), ambient.now());
        let orders = PostgresOrders::connect(&self.database.config(), ambient.clone()).await?;
        orders.ensure_merchant(merchant, "Bench", now).await?;
        let record = KeyRecord { id: KeyId::fresh(&ambient), merchant, scope: KeyScope::Secret };
        orders.ensure_key(&record, Sha256::digest(key.as_bytes()).into(), now).await?;
        let load = Load::new(address, key, merchant);
        let product =
            json!({ "name": "A thing", "category": "things", "price_minor": 1250, "currency": "EUR" });
        for sku in (0..SKUS).map(sku) {
            load.put(&format!("/v1/products/{sku}"), &product)?;
            load.put(&format!("/v1/inventory/{sku}"), &json!({ "on_hand": 1_000_000_000 }))?;
        }
        Ok((role, load))
    }

    /// Starts another role and waits until it is ready.
    pub(crate) async fn role(&self, name: &str) -> anyhow::Result<Role> {
        let health = format!("127.0.0.1:{}", free_port()?);
        let role = start(&self.binary, &self.folder, &self.settings, &[name, "--health", &health])?;
        until_ready(&health).await?;
        Ok(role)
    }

    fn command(&self, args: &[&str]) -> Command {
        command(&self.binary, &self.folder, &self.settings, args)
    }
}

fn command(binary: &PathBuf, folder: &TempDir, settings: &[(String, String)], args: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.arg("--data").arg(folder.path()).args(args).envs(settings.iter().cloned());
    command.env_remove("ORDERWORKS_CONFIG").stdin(Stdio::null());
    command
}

fn start(
    binary: &PathBuf,
    folder: &TempDir,
    settings: &[(String, String)],
    args: &[&str],
) -> anyhow::Result<Role> {
    Ok(Role(command(binary, folder, settings, args).stdout(Stdio::null()).spawn()?))
}

/// Waits for `200` from `/readyz`.
async fn until_ready(address: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    while !load::is_ready(address) {
        if began.elapsed() > START_MAX {
            bail!("a role does not get ready");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
