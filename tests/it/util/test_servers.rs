//! Deployment of one distributed test: a [`Stage`] has its own database, keyspace, virtual host and sandbox on the real
//! servers, with the rights that the product needs and no others. A [`Shop`] is a merchant there, with products, keys
//! and a receiver of webhooks.

use std::ffi::OsStr;

use base::{Ambient, testing::scratch::Scratch};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{
    domain::{KeyId, MerchantId},
    merchants::{KeyRecord, KeyScope, Merchants},
};
use store_cassandra::{CassandraPayments, testing::Keyspace};
use store_postgres::PostgresOrders;
use tempfile::TempDir;

use super::{Client, Receiver, Role, VerifyReport, Vhost, free_port, missing_broker, ready};

const PROVIDER_KEY: &str = "sandbox-key-of-a-test";

/// The deployment of one test.
pub(crate) struct TestServers {
    pub(crate) data: TempDir,
    pub(crate) database: Scratch,
    pub(crate) keyspace: Keyspace,
    pub(crate) vhost: Vhost,
    settings: Vec<(String, String)>,
    provider: String,
    /// Runs until the deployment is closed, unless the test takes it out.
    pub(crate) sandbox: Option<Role>,
}

impl TestServers {
    /// Creates a migrated and empty deployment with a running sandbox; `None`, with the reason printed, if a server is
    /// missing.
    pub(crate) async fn open() -> Option<Self> {
        Self::open_with("{ datacenter1 = 1 }").await
    }

    /// The same with this replication of payments.
    pub(crate) async fn open_with(replication: &str) -> Option<Self> {
        let missing = missing_broker().map(str::to_owned).or_else(base::testing::scratch::skipped);
        let smtp =
            std::env::var("ORDERWORKS_TEST_SMTP_URL").map_err(|_| "ORDERWORKS_TEST_SMTP_URL is not set");
        if let Some(why) = missing.or(smtp.clone().err().map(str::to_owned)) {
            base::testing::skip(&why);
            return None;
        }
        let (keyspace, database) = (Keyspace::create().await?, Scratch::create().await);
        let (vhost, data) = (Vhost::create().await, tempfile::tempdir().expect("a folder"));
        let (url, port) = (database.url_of_owner().await, free_port());
        let provider = format!("http://127.0.0.1:{port}/");
        let settings = [
            ("ENGINES_QUEUE", "rabbitmq"),
            ("ENGINES_ORDERS", "postgres"),
            ("ENGINES_PAYMENTS", "cassandra"),
            ("RABBITMQ_URL", vhost.url()),
            ("POSTGRES_URL", url.expose_secret()),
            ("CASSANDRA_NODES", &format!("{:?}", keyspace.config.nodes)),
            ("CASSANDRA_KEYSPACE", &keyspace.config.keyspace),
            ("CASSANDRA_REPLICATION", replication),
            ("PAYMENTS_PROVIDER_URL", &provider),
            ("PAYMENTS_PROVIDER_KEY", PROVIDER_KEY),
            ("MAIL_TRANSPORT", "smtp"),
            ("MAIL_SMTP_URL", &smtp.ok()?),
            ("CHECKOUT_PER_KEY_PER_SECOND", "100000"),
            ("CHECKOUT_PER_IP_PER_SECOND", "100000"),
            ("CHECKOUT_BURST", "100000"),
            ("CARD_TESTING_SANDBOX_BOUND", "1000000"),
            ("READS_PER_KEY_PER_SECOND", "100000"),
            ("WRITES_PER_KEY_PER_SECOND", "100000"),
            // Merchants' receivers are listeners of the test.
            ("WEBHOOKS_ALLOW_LOOPBACK", "true"),
        ];
        let settings = settings.iter().map(|(key, value)| (format!("ORDERWORKS_{key}"), (*value).to_owned()));
        let settings = settings.collect();
        let mut stage = Self { data, database, keyspace, vhost, settings, provider, sandbox: None };
        stage.sandbox = Some(stage.role(&stage.sandbox_arguments()));
        stage.migrate().await;
        Some(stage)
    }

    async fn migrate(&self) {
        self.command(&[], &["migrate"]).await;
    }

    /// Arguments to start the sandbox with.
    pub(crate) fn sandbox_arguments(&self) -> Vec<String> {
        let address = self.provider.trim_start_matches("http://").trim_end_matches('/');
        ["sandbox", "--listen", address].map(str::to_owned).into()
    }

    /// Adds or changes a setting, named without its prefix, for processes started later.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let key = format!("ORDERWORKS_{key}");
        self.settings.retain(|(known, _)| *known != key);
        self.settings.push((key, value.to_owned()));
    }

    /// Runs a command to its successful end; returns its output.
    pub(crate) async fn command(&self, more: &[(&str, &str)], args: &[&str]) -> String {
        let mut command = super::orderworks(self.data.path());
        command.args(args).envs(self.settings()).envs(more.iter().copied());
        let done = command.output().await.expect("runs");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    }

    /// Settings of its processes, as environment variables.
    pub(crate) fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    /// Starts a role.
    pub(crate) fn role(&self, args: &[impl AsRef<OsStr>]) -> Role {
        self.role_with(&[], args)
    }

    /// The same with further settings, which take precedence.
    pub(crate) fn role_with(&self, more: &[(&str, &str)], args: &[impl AsRef<OsStr>]) -> Role {
        Role::start(self.data.path(), &[&self.settings()[..], more].concat(), args)
    }

    /// Starts an API process and waits until it is ready; returns it with its base address.
    pub(crate) async fn api(&self, more: &[(&str, &str)]) -> (Role, String) {
        let (role, address) = self.api_unready(more);
        ready(&address, |report| report["status"] == "ok").await;
        (role, format!("http://{address}"))
    }

    /// Starts an API process; returns it with its address.
    pub(crate) fn api_unready(&self, more: &[(&str, &str)]) -> (Role, String) {
        let address = format!("127.0.0.1:{}", free_port());
        (self.role_with(more, &["api", "--listen", &address]), address)
    }

    /// Runs `verify` over this deployment.
    pub(crate) async fn verify(&self, args: &[&str]) -> VerifyReport {
        self.verify_with(&[], args).await
    }

    /// The same with further settings, which take precedence.
    pub(crate) async fn verify_with(&self, more: &[(&str, &str)], args: &[&str]) -> VerifyReport {
        super::verify(self.data.path(), &[&self.settings()[..], more].concat(), args).await
    }

    /// The value of a setting, named without its prefix.
    pub(crate) fn setting(&self, key: &str) -> &str {
        let found = self.settings.iter().find(|(name, _)| name.strip_prefix("ORDERWORKS_") == Some(key));
        &found.expect("a setting of the stage").1
    }

    pub(crate) fn ledger_url(&self) -> String {
        format!("{}v1/ledger", self.provider)
    }

    pub(crate) async fn orders(&self) -> PostgresOrders {
        PostgresOrders::connect(&self.database.config(), Ambient::system()).await.expect("connects")
    }

    pub(crate) async fn payments(&self) -> CassandraPayments {
        self.keyspace.store().await
    }

    /// The output of all processes so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }

    pub(crate) async fn close(self) {
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
        self.vhost.delete().await;
    }
}

/// A merchant.
pub(crate) struct TestMerchant {
    pub(crate) merchant: MerchantId,
    pub(crate) key: String,
    pub(crate) client: Client,
    pub(crate) receiver: Receiver,
    /// Mail domain of this shop's customers only: a UUID with its dashes, as digits of one are never taken for a card
    /// number.
    pub(crate) domain: String,
}

impl TestMerchant {
    /// Opens a shop with this stock of each product, by the API at `base`.
    pub(crate) async fn open(stage: &TestServers, base: &str, skus: &[&str], stock: i64) -> Self {
        Self::open_with(stage, base, &skus.iter().map(|sku| (*sku, stock)).collect::<Vec<_>>()).await
    }

    /// The same with a stock per product.
    pub(crate) async fn open_with(stage: &TestServers, base: &str, products: &[(&str, i64)]) -> Self {
        let ambient = Ambient::system();
        let (merchant, now) = (MerchantId::fresh(&ambient), ambient.now());
        let key = format!("owk_sec_{}", ambient.uuid().simple());
        let orders = stage.orders().await;
        orders.ensure_merchant(merchant, "A shop", now).await.expect("stores");
        let record = KeyRecord { id: KeyId::fresh(&ambient), merchant, scope: KeyScope::Secret };
        orders.ensure_key(&record, Sha256::digest(key.as_bytes()).into(), now).await.expect("stores");
        let client = Client::new(base, &key);
        for (sku, stock) in products {
            let product =
                json!({ "name": sku, "category": "things", "price_minor": 1250, "currency": "EUR" });
            let (status, body) =
                client.send(Method::PUT, &format!("/v1/products/{sku}"), Some(&product)).await;
            assert!(status.is_success(), "{body}");
            let inventory = json!({ "on_hand": stock });
            let (status, body) =
                client.send(Method::PUT, &format!("/v1/inventory/{sku}"), Some(&inventory)).await;
            assert!(status.is_success(), "{body}");
        }
        let receiver = Receiver::start().await;
        let endpoint = json!({ "url": receiver.url, "events": ["*"] });
        let (status, body) = client.send(Method::POST, "/v1/webhook_endpoints", Some(&endpoint)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        Self { merchant, key, client, receiver, domain: format!("{}.example.com", ambient.uuid()) }
    }

    /// Body of an order by a customer of this shop.
    pub(crate) fn order(&self, sku: &str, quantity: u32, method: &str) -> Value {
        let mut order = super::order(sku, quantity, method);
        order["customer"]["email"] = format!("ada@{}", self.domain).into();
        order
    }

    /// Message-IDs of the mails that the sink received for this shop's customers.
    pub(crate) fn mails(&self) -> Vec<String> {
        mails_to(&self.domain)
    }
}

/// Message-IDs of the mails that the sink received for customers of this domain.
pub(crate) fn mails_to(domain: &str) -> Vec<String> {
    let folder = std::env::var("ORDERWORKS_TEST_MAIL_FOLDER").expect("set with the sink's address");
    let files = std::fs::read_dir(format!("{folder}/new")).expect("a Maildir");
    let texts = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    let mine = texts.filter(|text| text.contains(domain));
    let id = |text: String| {
        let line =
            text.lines().find(|line| line.to_lowercase().starts_with("message-id:")).map(str::to_owned);
        line.expect("a Message-ID")
    };
    mine.map(id).collect()
}
