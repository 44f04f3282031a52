//! Fixtures: a [`Deployment`] is the stores and queues of a shop in a temporary folder, with a job in each state and an
//! order; a [`Visit`] is a request to its console by a bearer of a token, and a [`Reply`] the whole answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use base::Ambient;
use console::{
    Console, ConsoleConfig, ConsoleParts, ReadScaling, ScalingReading,
    access::{AccessToken, Role},
};
use http::{HeaderMap, Method, Request, StatusCode, header};
use jobs::{
    CancellationToken, Consume, Envelope, Job, JobContext, JobError, JobId, Publish,
    bulk::{Items, JobItems, OneJob, QueueItems, ScheduleItems},
    engine::{ConsumeOptions, DeadReason, QueueSpec, Settlement},
    envelope::EnqueueOptions,
    job_store::{Schedules, SqliteJobStore},
    records::{AttemptOutcome, AttemptRecord, RecordStore},
    scaling::{
        QueuePlan, Scaling,
        rule::{Bounds, Pace},
    },
    schedule::{Schedule, Scheduler, Timing},
    sqlite::SqliteEngine,
};
use serde::{Deserialize, Serialize};
use store::{
    OrderStore,
    catalog::ProductData,
    domain::{Customer, MerchantId, OrderId},
    orders::{IdempotencyKey, NewLine, NewOrder, PlaceOutcome},
};
use store_sqlite::{SqliteOrders, SqlitePayments};
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

pub(crate) const QUEUE: &str = "email";
pub(crate) const SCHEDULE: &str = "tidy";
/// In the payload of each job: shown only to those who may see payloads.
pub(crate) const PAYLOAD_CANARY: &str = "canary-payload";
/// Name of the customer; an element if it were not escaped.
pub(crate) const CUSTOMER: &str = "<script>Ada</script>";
/// Error of the dead job.
pub(crate) const HOSTILE_ERROR: &str = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>";
/// Bound of every wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A mail about an order.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mail {
    pub(crate) text: String,
    pub(crate) order: Option<OrderId>,
}

impl Job for Mail {
    type Env = ();
    const KIND: &'static str = "send_mail";
    const QUEUE: &'static str = QUEUE;

    fn subject(&self) -> Option<String> {
        self.order.map(|order| order.to_string())
    }

    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

/// A shop with one job in each state, an order with an attempt of a job, and a schedule.
pub(crate) struct Deployment {
    _folder: tempfile::TempDir,
    pub(crate) parts: ConsoleParts,
    pub(crate) console: Console,
    pub(crate) ready: JobId,
    pub(crate) delayed: JobId,
    pub(crate) dead: JobId,
    pub(crate) order: OrderId,
}

impl Deployment {
    pub(crate) async fn open() -> Self {
        Self::open_with(false).await
    }

    /// A deployment whose console shows payloads to admins, or not.
    pub(crate) async fn open_with(show_payloads: bool) -> Self {
        Self::open_as(ConsoleConfig { show_payloads, ..ConsoleConfig::default() }).await
    }

    /// A deployment with a token for each role, and these settings.
    pub(crate) async fn open_as(settings: ConsoleConfig) -> Self {
        let (folder, ambient) = (tempfile::tempdir().expect("a folder"), Ambient::system());
        let path = |name: &str| folder.path().join(name);
        let engine = SqliteEngine::open(&path("queue.db"), ambient.clone()).await.expect("opens");
        let engine = Arc::new(engine);
        let records: Arc<dyn RecordStore> = Arc::new(engine.records());
        let store = SqliteJobStore::open(&path("jobs.db"), ambient.clone()).await.expect("opens");
        let store = Arc::new(store);
        let orders = SqliteOrders::open(&path("orders.db"), ambient.clone()).await.expect("opens");
        let orders: Arc<dyn OrderStore> = Arc::new(orders);
        let payments = SqlitePayments::open(&path("payments.db"), ambient.clone()).await.expect("opens");
        engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
        let order = placed(orders.as_ref(), &ambient).await;
        let [dead, ready, delayed] = jobs_of(&engine, order, &ambient).await;
        records.append([attempt(dead, order, &ambient)].into()).await.expect("records");
        scheduled(&engine, &store, &ambient).await;
        let schedules =
            ScheduleItems::new(store.clone(), engine.clone(), Arc::clone(&records), ambient.clone());
        let items: Vec<Arc<dyn Items>> = vec![
            Arc::new(JobItems::new(engine.clone())),
            Arc::new(OneJob::new(engine.clone())),
            Arc::new(QueueItems::new(engine.clone())),
            Arc::new(schedules),
        ];
        let scaling = signal(engine.clone(), store.clone(), &ambient);
        let (name, payments) = ("test console".to_owned(), Arc::new(payments));
        let parts = ConsoleParts { engine, records, store, orders, payments, items, scaling, name, ambient };
        let token = |role: Role| {
            AccessToken::new(role.as_str(), role, &secret_of(role).into()).expect("a usable token")
        };
        let config = ConsoleConfig { tokens: Role::ALL.map(token).into(), ..settings };
        let console = Console::new(parts.clone(), config);
        Self { _folder: folder, parts, console, ready, delayed, dead, order }
    }

    pub(crate) fn sign_in_path(&self) -> String {
        self.console.sign_in_path("dev")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        Reply::of(console::app(self.console.clone()).oneshot(request).await.expect("answers")).await
    }

    /// Answers to requests that are sent at the same time, in any order.
    pub(crate) async fn get_at_once(&self, role: Role, paths: &[&str]) -> Vec<Reply> {
        let mut asking = JoinSet::new();
        for path in paths {
            let app = console::app(self.console.clone());
            let request = Visit::of(role).request(Method::GET, path, &[]);
            asking.spawn(async move { Reply::of(app.oneshot(request).await.expect("answers")).await });
        }
        asking.join_all().await
    }

    /// Samples the queues until `stop`.
    pub(crate) fn keep_history(&self, stop: CancellationToken) -> JoinHandle<()> {
        let console = self.console.clone();
        tokio::spawn(async move { console.keep_history(stop).await })
    }

    pub(crate) async fn get(&self, role: Role, path: &str) -> Reply {
        self.send(Visit::of(role).request(Method::GET, path, &[])).await
    }

    pub(crate) async fn post(&self, role: Role, path: &str, form: &[(&str, &str)]) -> Reply {
        self.send(Visit::of(role).request(Method::POST, path, form)).await
    }

    /// Asks for an action and returns the path of its operation.
    pub(crate) async fn previewed(&self, role: Role, form: &[(&str, &str)]) -> String {
        let reply = self.post(role, "/operations", form).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{form:?}: {}", reply.body);
        reply.location()
    }
}

/// The token of a role, as its bearer has it.
pub(crate) fn secret_of(role: Role) -> String {
    format!("{}-0123456789abcdef0123456789abcdef", role.as_str())
}

/// Headers of a request.
pub(crate) struct Visit(Vec<(header::HeaderName, String)>);

impl Visit {
    pub(crate) fn of(role: Role) -> Self {
        Self(vec![(header::AUTHORIZATION, format!("Bearer {}", secret_of(role)))])
    }

    pub(crate) fn signed_out() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((header::HeaderName::from_static(name), value.to_owned()));
        self
    }

    pub(crate) fn request(self, method: Method, path: &str, form: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in self.0 {
            request = request.header(name, value);
        }
        let encode = |text: &str| text.replace('%', "%25").replace('&', "%26").replace(' ', "+");
        let pairs: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let form_type = "application/x-www-form-urlencoded";
        request.header(header::CONTENT_TYPE, form_type).body(Body::from(pairs.join("&"))).expect("a request")
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("text");
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn location(&self) -> String {
        self.header("location").to_owned()
    }

    /// Addresses of this console that the page links to.
    pub(crate) fn links(&self) -> Vec<String> {
        let quoted = self.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        quoted.filter(|href| href.starts_with('/')).map(|href| href.replace("&#38;", "&")).collect()
    }
}

/// The scaling signal of the one queue.
fn signal(engine: Arc<SqliteEngine>, store: Arc<SqliteJobStore>, ambient: &Ambient) -> ReadScaling {
    let bounds = Bounds { target_wait: Duration::from_secs(10), min: 3, max: 5 };
    let plan =
        QueuePlan { queue: QUEUE.to_owned(), slots: 1, bounds, pace: Pace::default(), concurrent_max: None };
    let scaling = Arc::new(Scaling::new(engine, store, vec![plan], ambient.clone()));
    Arc::new(move || -> ScalingReading {
        let scaling = Arc::clone(&scaling);
        Box::pin(async move { scaling.read().await.ok() })
    })
}

async fn placed(orders: &dyn OrderStore, ambient: &Ambient) -> OrderId {
    let (merchant, at) = (MerchantId::fresh(ambient), ambient.now());
    orders.ensure_merchant(merchant, "Mugs & More", at).await.expect("a merchant");
    let currency = "EUR".parse().expect("a currency");
    let mug = ProductData {
        sku: "mug".to_owned(),
        name: "Mug".to_owned(),
        description: None,
        category: "kitchen".to_owned(),
        price_minor: 1250,
        currency,
        low_stock_at: 0,
    };
    orders.put_product(merchant, mug, at).await.expect("a product");
    orders.put_inventory(merchant, "mug", 10, at, None).await.expect("stock");
    let order = NewOrder {
        id: OrderId::fresh(ambient),
        merchant,
        customer: Customer { email: "ada@customer.example".to_owned(), name: CUSTOMER.to_owned() },
        account: None,
        token: None,
        currency,
        lines: vec![NewLine { sku: "mug".to_owned(), quantity: 2 }],
        reservation: None,
        pricing: None,
        expected_total_minor: None,
        payment_method: "pm_card_visa".to_owned(),
        shipping_address: None,
        reference: None,
        idempotency: IdempotencyKey { key: "one".to_owned(), fingerprint: [1; 32] },
        trace: None,
        estimated_fulfilment_at: None,
        at,
    };
    let id = order.id;
    let outcome = orders.place_order(order).await.expect("places");
    assert!(matches!(outcome, PlaceOutcome::Placed { .. }), "{outcome:?}");
    id
}

/// A dead, a ready and a delayed job.
async fn jobs_of(engine: &SqliteEngine, order: OrderId, ambient: &Ambient) -> [JobId; 3] {
    let mail = Mail { text: PAYLOAD_CANARY.to_owned(), order: Some(order) };
    let publish = async |run_at| {
        let options = EnqueueOptions { run_at, ..EnqueueOptions::default() };
        let envelope = Envelope::new(&mail, options, ambient).expect("an envelope");
        let id = envelope.id;
        engine.publish(vec![envelope]).await.expect("publishes");
        id
    };
    let dead = publish(None).await;
    let options =
        ConsumeOptions { name: "w-1/email".to_owned(), prefetch: 1, lease: Duration::from_secs(30) };
    let mut consumer = engine.consume(QUEUE, options).await.expect("consumes");
    let delivery = consumer.deliveries.recv().await.expect("a delivery");
    let settlement = Settlement::Dead { reason: DeadReason::Exhausted, error: HOSTILE_ERROR.to_owned() };
    consumer.settler.settle(delivery.receipt, settlement);
    consumer.settler.stop();
    consumer.settler.close().await.expect("closes");
    drop(consumer);
    let ready = publish(None).await;
    [dead, ready, publish(Some(ambient.now() + Duration::from_hours(1))).await]
}

/// The one attempt of a job, which was its last.
pub(crate) fn attempt(job: JobId, order: OrderId, ambient: &Ambient) -> AttemptRecord {
    let now = ambient.now();
    AttemptRecord {
        job,
        kind: Mail::KIND.to_owned(),
        queue: QUEUE.to_owned(),
        subject: Some(order.to_string()),
        attempt: 1,
        worker: "w-1".to_owned(),
        created_at: now,
        started_at: now,
        duration: Duration::from_millis(20),
        outcome: AttemptOutcome::Dead,
        error: Some(HOSTILE_ERROR.to_owned()),
        trace: None,
    }
}

/// Stores a schedule by a scheduler that leads for a moment.
async fn scheduled(engine: &Arc<SqliteEngine>, store: &Arc<SqliteJobStore>, ambient: &Ambient) {
    let timing = Timing::every(Duration::from_hours(1)).expect("a timing");
    let job = Mail { text: "tidy".to_owned(), order: None };
    let schedule = Schedule::new(SCHEDULE, &job, timing).expect("a schedule");
    let scheduler = Scheduler::new(store.clone(), engine.clone(), "test", ambient.clone());
    let (scheduler, stop) = (scheduler.with(schedule).expect("one"), CancellationToken::new());
    let running = tokio::spawn(scheduler.run(stop.clone()));
    tokio::time::timeout(PATIENCE, async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while store.schedules().await.expect("lists").is_empty() {
            tick.tick().await;
        }
    })
    .await
    .expect("is stored");
    stop.cancel();
    running.await.expect("ends");
}
