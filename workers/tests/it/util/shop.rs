//! Whole installation in a temporary folder.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use base::{Ambient, TraceContext};
use jobs::{
    Consume, Job, JobContext, JobError, JobId,
    engine::{JobSignal, QueueSpec},
    reporter::RunReporter,
    sqlite::SqliteEngine,
};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use store::{
    OrderStore, PaymentStore,
    catalog::{InventoryPut, ProductData},
    domain::{Customer, EndpointId, EventKind, MerchantId, Order, OrderId, OrderStatus, RefundId},
    orders::{IdempotencyKey, NewLine, NewOrder, PlaceOutcome, RefundRequested},
    outbox::{Command, OutboxBody, OutboxMessage},
    webhooks::{Endpoint, Subscription},
};
use store_sqlite::{SqliteOrders, SqlitePayments};
use tempfile::TempDir;
use tokio::net::TcpListener;
use webhooks::{UrlPolicy, WebhookSender, shares::ShareLimits};
use workers::{
    Env, Parts, WebhookDelivery,
    counts::PaymentCounts,
    jobs::RefundPayment,
    mail::Mailer,
    provider::{
        ClientConfig, PaymentProvider,
        sandbox_client::SandboxProvider,
        sandbox_server::{Entry, SandboxServer, Summary},
    },
    queues::QUEUES,
};

const API_KEY: &str = "sk_sandbox_test";
/// `whsec_` and base64 of 32 bytes.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

pub(crate) struct TestMerchant {
    pub(crate) ambient: Ambient,
    pub(crate) merchant: MerchantId,
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) payments: Arc<dyn PaymentStore>,
    pub(crate) provider: SandboxProvider,
    pub(crate) sandbox_url: String,
    pub(crate) folder: TempDir,
}

/// The context of a first attempt, as a worker passes it.
pub(crate) fn context(env: Env) -> JobContext<Env> {
    let ambient = env.ambient.clone();
    JobContext {
        env,
        id: JobId::fresh(&ambient),
        attempt: 1,
        max_attempts: 10,
        created_at: ambient.now(),
        trace: Some(TraceContext::fresh(&ambient)),
        signal: JobSignal::default(),
        ambient,
        reports: RunReporter::default(),
    }
}

impl TestMerchant {
    /// The shop's job engine, with all queues declared.
    pub(crate) async fn engine(&self) -> Arc<SqliteEngine> {
        let path = self.folder.path().join("queue.db");
        let engine = SqliteEngine::open(&path, self.ambient.clone()).await.expect("opens");
        let queues: Vec<_> = QUEUES.iter().map(|(name, _)| QueueSpec::new(*name)).collect();
        engine.declare(&queues).await.expect("declares");
        Arc::new(engine)
    }

    /// A shop with one product, `mug` at 12.50 EUR, a thousand in stock.
    pub(crate) async fn open() -> Self {
        Self::open_with(Ambient::system()).await
    }

    pub(crate) async fn open_with(ambient: Ambient) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let orders = SqliteOrders::open(&path("orders.db"), ambient.clone()).await.expect("opens");
        let payments = SqlitePayments::open(&path("payments.db"), ambient.clone()).await.expect("opens");
        let key = SecretString::from(API_KEY);
        let server =
            SandboxServer::open(&path("sandbox.db"), key.clone(), ambient.clone()).await.expect("opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sandbox_url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(server.run(listener, std::future::pending()));
        let provider = sandbox_client(&sandbox_url, Duration::from_secs(5), ambient.clone());
        let merchant = MerchantId::fresh(&ambient);
        let shop = Self {
            ambient,
            merchant,
            orders: Arc::new(orders),
            payments: Arc::new(payments),
            provider,
            sandbox_url,
            folder,
        };
        shop.stock().await;
        shop
    }

    async fn stock(&self) {
        let at = self.ambient.now();
        self.orders.ensure_merchant(self.merchant, "Mugs & More", at).await.expect("a merchant");
        self.price(1250).await;
        let put = self.orders.put_inventory(self.merchant, "mug", 1000, at, None).await.expect("stock");
        assert!(matches!(put, InventoryPut::Set(_)));
        self.drain_outbox().await;
    }

    /// Sets the price of the mug.
    pub(crate) async fn price(&self, price_minor: i64) {
        let mug = ProductData {
            sku: "mug".to_owned(),
            name: "Mug <large>".to_owned(),
            description: None,
            category: "kitchen".to_owned(),
            price_minor,
            currency: "EUR".parse().expect("a currency"),
            low_stock_at: 0,
        };
        self.orders.put_product(self.merchant, mug, self.ambient.now()).await.expect("a product");
    }

    /// A sandbox client with this timeout.
    pub(crate) fn impatient_provider(&self, timeout: Duration) -> SandboxProvider {
        sandbox_client(&self.sandbox_url, timeout, self.ambient.clone())
    }

    pub(crate) fn env(&self) -> Env {
        self.env_with(Arc::clone(&self.payments), Arc::new(self.provider.clone()))
    }

    pub(crate) fn env_with(
        &self,
        payments: Arc<dyn PaymentStore>,
        provider: Arc<dyn PaymentProvider>,
    ) -> Env {
        let policy = UrlPolicy { allow_loopback: true };
        let sender = WebhookSender::new(policy, self.ambient.clone()).expect("a sender");
        let webhooks = WebhookDelivery::new(sender, ShareLimits::of_slots(16), self.ambient.clone());
        self.env_of(payments, provider, webhooks)
    }

    pub(crate) fn env_sending(&self, webhooks: WebhookDelivery) -> Env {
        self.env_of(Arc::clone(&self.payments), Arc::new(self.provider.clone()), webhooks)
    }

    fn env_of(
        &self,
        payments: Arc<dyn PaymentStore>,
        provider: Arc<dyn PaymentProvider>,
        webhooks: WebhookDelivery,
    ) -> Env {
        Env::new(Parts {
            orders: Arc::clone(&self.orders),
            payments,
            provider,
            mailer: Mailer::file(self.mail_folder(), "Mugs & More <orders@shop.example>").expect("a mailer"),
            webhooks,
            payment_counts: PaymentCounts::default(),
            ambient: self.ambient.clone(),
            worker: "test-worker".to_owned(),
        })
    }

    pub(crate) fn env_mailing(&self, mailer: Mailer) -> Env {
        let env = self.env();
        let Parts { orders, payments, provider, webhooks, ambient, worker, .. } = &*env;
        Env::new(Parts {
            orders: Arc::clone(orders),
            payments: Arc::clone(payments),
            provider: Arc::clone(provider),
            mailer,
            webhooks: webhooks.clone(),
            payment_counts: PaymentCounts::default(),
            ambient: ambient.clone(),
            worker: worker.clone(),
        })
    }

    pub(crate) fn mail_folder(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    /// Runs a job as a first attempt.
    pub(crate) async fn run<J: Job<Env = Env>>(&self, job: &J) -> Result<(), JobError> {
        job.run(&context(self.env())).await
    }

    /// Places an order of two mugs for Ada.
    pub(crate) async fn place(&self, payment_method: &str) -> Order {
        self.place_of("mug", "EUR", payment_method).await
    }

    /// Places an order of two of another product, sold in this currency.
    pub(crate) async fn place_of(&self, sku: &str, currency: &str, payment_method: &str) -> Order {
        let order = NewOrder {
            id: OrderId::fresh(&self.ambient),
            merchant: self.merchant,
            customer: Customer { email: "ada@customer.example".to_owned(), name: "Ada L\u{f6}we".to_owned() },
            account: None,
            token: None,
            currency: currency.parse().expect("a currency"),
            lines: vec![NewLine { sku: sku.to_owned(), quantity: 2 }],
            reservation: None,
            pricing: None,
            expected_total_minor: None,
            payment_method: payment_method.to_owned(),
            shipping_address: None,
            reference: None,
            idempotency: IdempotencyKey { key: self.ambient.uuid().to_string(), fingerprint: [7; 32] },
            trace: Some(TraceContext::fresh(&self.ambient)),
            estimated_fulfilment_at: None,
            at: self.ambient.now(),
        };
        let placed = self.orders.place_order(order).await.expect("the store works");
        let PlaceOutcome::Placed { order, .. } = placed else { panic!("not placed: {placed:?}") };
        *order
    }

    pub(crate) async fn status(&self, order: OrderId) -> OrderStatus {
        self.orders.order_by_id(order).await.expect("the store works").expect("an order").status
    }

    pub(crate) async fn event_kinds(&self, order: OrderId) -> Vec<EventKind> {
        let events = self.orders.order_events(order, 0).await.expect("the store works");
        events.iter().map(|event| event.kind).collect()
    }

    /// All unsent messages of the outbox, marked as sent.
    pub(crate) async fn drain_outbox(&self) -> Vec<OutboxMessage> {
        let mut all = Vec::new();
        loop {
            let at = self.ambient.now();
            let claimed = self.orders.claim("test", 256, Duration::from_secs(30), at).await.expect("claims");
            if claimed.is_empty() {
                return all;
            }
            let positions: Vec<_> = claimed.iter().map(|message| message.position).collect();
            self.orders.mark_sent(&positions, at).await.expect("marks");
            all.extend(claimed);
        }
    }

    /// Changes a database file without any check.
    pub(crate) async fn plant(&self, file: &str, sql: &str) {
        let path = self.folder.path().join(file);
        let options = SqliteConnectOptions::from_str(path.to_str().expect("UTF-8")).expect("a path");
        let mut file =
            options.foreign_keys(false).busy_timeout(Duration::from_secs(5)).connect().await.expect("opens");
        file.execute("PRAGMA ignore_check_constraints = ON").await.expect("sets");
        let named = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '%_no_%'";
        let triggers: Vec<String> = sqlx::query_scalar(named).fetch_all(&mut file).await.expect("reads");
        for trigger in triggers {
            file.execute(AssertSqlSafe(format!("DROP TRIGGER {trigger}"))).await.expect("drops");
        }
        let done = file.execute(AssertSqlSafe(sql.to_owned())).await.expect("plants");
        assert!(done.rows_affected() > 0, "nothing planted by: {sql}");
    }

    /// Requests a refund of this amount, or of the rest.
    pub(crate) async fn ask_refund(&self, order: OrderId, amount_minor: Option<i64>) -> RefundId {
        let (refund, at) = (RefundId::fresh(&self.ambient), self.ambient.now());
        let asked = self.orders.request_refund(self.merchant, order, refund, amount_minor, at).await;
        assert!(matches!(asked.expect("the store works"), RefundRequested::Accepted(..)));
        refund
    }

    /// Requests a refund; returns its job.
    pub(crate) async fn refund_job(&self, order: OrderId, amount_minor: Option<i64>) -> RefundPayment {
        self.ask_refund(order, amount_minor).await;
        let commands = self.commands().await;
        let [Command::Refund { order, refund, amount_minor }] = commands[..] else { panic!("{commands:?}") };
        RefundPayment { order, refund, amount_minor }
    }

    /// The unsent commands of the outbox.
    pub(crate) async fn commands(&self) -> Vec<store::outbox::Command> {
        let messages = self.drain_outbox().await;
        let command = |message: OutboxMessage| match message.body {
            OutboxBody::Command { command, .. } => Some(command),
            OutboxBody::Event(_) | OutboxBody::Unreadable(_) => None,
        };
        messages.into_iter().filter_map(command).collect()
    }

    pub(crate) async fn endpoint(&self, url: &str) -> EndpointId {
        let id = EndpointId::fresh(&self.ambient);
        let endpoint = Endpoint {
            id,
            merchant: self.merchant,
            url: url.to_owned(),
            events: Subscription::All,
            secret: SECRET.to_owned(),
            enabled: true,
            failing_since: None,
            disabled: None,
            previous_secrets: Vec::new(),
            times_disabled: 0,
            created_at: self.ambient.now(),
        };
        assert!(self.orders.create_endpoint(endpoint).await.expect("the store works"));
        id
    }

    /// The provider's ledger of an order.
    pub(crate) async fn ledger(&self, order: OrderId) -> Vec<Entry> {
        #[derive(serde::Deserialize)]
        struct List {
            data: Vec<Entry>,
        }
        let list: List = self.sandbox_get(&format!("/v1/ledger?order={order}")).await;
        list.data
    }

    pub(crate) async fn ledger_summary(&self) -> Summary {
        self.sandbox_get("/v1/ledger/summary").await
    }

    pub(crate) async fn sandbox_get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let response = client.get(format!("{}{path}", self.sandbox_url)).bearer_auth(API_KEY).send().await;
        response.expect("an answer").json().await.expect("JSON")
    }

    /// Sends a POST as the provider's client does; returns status and body.
    pub(crate) async fn sandbox_post(&self, path: &str, key: &str, body: serde_json::Value) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = client.post(format!("{}{path}", self.sandbox_url)).bearer_auth(API_KEY);
        let response = request.header("idempotency-key", key).json(&body).send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }
}

pub(crate) fn sandbox_client(url: &str, timeout: Duration, ambient: Ambient) -> SandboxProvider {
    let url = url.parse().expect("a URL");
    let config = ClientConfig { url, key: SecretString::from(API_KEY), timeout };
    SandboxProvider::new(config, ambient).expect("a client")
}
