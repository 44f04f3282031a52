//! Isolation of merchants: the receivers of one merchant do not delay another. Real queue, real receivers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jobs::{
    Engine,
    engine::{InspectedJob, JobFilter},
    sqlite::SqliteEngine,
    worker::Workers,
};
use store::{
    catalog::{InventoryPut, ProductData},
    domain::{EndpointId, MerchantId},
    webhooks::{Endpoint, Subscription},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;
use webhooks::{Answer, SignedPost, UrlPolicy, WebhookCarrier, WebhookSender, shares::ShareLimits};
use workers::{Env, WebhookDelivery, queues::WEBHOOKS, registry::registry, relay::Relay};

use crate::util::{Receiver, SECRET, TestMerchant, until};

const SLOTS: usize = 16;
const SILENT: usize = 50;
const EVENTS_OF_B: i64 = 6;
const SILENT_PATH: &str = "/silent";
const PATIENCE: Duration = Duration::from_secs(20);
/// Far above what a delivery takes, far below the 15 seconds for which a silent receiver holds a slot.
const SOON: Duration = Duration::from_secs(3);

/// Receivers that accept connections and never answer.
struct Silent {
    url: String,
    accepted: Arc<AtomicUsize>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { url, accepted }
    }
}

async fn merchant(shop: &TestMerchant, urls: &[&str]) -> MerchantId {
    let (merchant, at) = (MerchantId::fresh(&shop.ambient), shop.ambient.now());
    shop.orders.ensure_merchant(merchant, "Another", at).await.expect("a merchant");
    for url in urls {
        let endpoint = Endpoint {
            id: EndpointId::fresh(&shop.ambient),
            merchant,
            url: (*url).to_owned(),
            events: Subscription::All,
            secret: SECRET.to_owned(),
            enabled: true,
            failing_since: None,
            disabled: None,
            previous_secrets: Vec::new(),
            times_disabled: 0,
            created_at: at,
        };
        assert!(shop.orders.create_endpoint(endpoint).await.expect("the store works"));
    }
    let mug = ProductData {
        sku: "mug".to_owned(),
        name: "Mug".to_owned(),
        description: None,
        category: "kitchen".to_owned(),
        price_minor: 1250,
        currency: "EUR".parse().expect("a currency"),
        low_stock_at: 0,
    };
    shop.orders.put_product(merchant, mug, at).await.expect("a product");
    merchant
}

/// Causes an event.
async fn restock(shop: &TestMerchant, merchant: MerchantId, on_hand: i64) {
    let put = shop.orders.put_inventory(merchant, "mug", on_hand, shop.ambient.now(), None).await;
    assert!(matches!(put.expect("stock"), InventoryPut::Set(_)));
}

/// Transport that holds posts to [`SILENT_PATH`] until they are released, whatever their timeout.
struct Holding {
    silent: watch::Sender<usize>,
    most: AtomicUsize,
    answers: Semaphore,
    taken: watch::Sender<usize>,
}

#[async_trait]
impl WebhookCarrier for Holding {
    async fn carry(&self, post: SignedPost) -> Answer {
        if post.url.path() != SILENT_PATH {
            self.taken.send_modify(|taken| *taken += 1);
            return Answer::of_status(200, None);
        }
        self.silent.send_modify(|posts| *posts += 1);
        self.most.fetch_max(*self.silent.borrow(), Ordering::Relaxed);
        self.answers.acquire().await.expect("stays open").forget();
        self.silent.send_modify(|posts| *posts -= 1);
        Answer::failed("timeout")
    }
}

/// Awaited without polling; the only time limit is that of the test.
async fn reach(count: &watch::Sender<usize>, value: usize) {
    let mut count = count.subscribe();
    let reached = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count == value)).await;
    reached.unwrap_or_else(|_| panic!("{value} not reached")).expect("stays open");
}

async fn start(shop: &TestMerchant, env: Env) -> (Arc<dyn Engine>, CancellationToken) {
    let path = shop.folder.path().join("queue.db");
    let engine: Arc<dyn Engine> =
        Arc::new(SqliteEngine::open(&path, shop.ambient.clone()).await.expect("opens"));
    let registry = Arc::new(registry().expect("distinct kinds"));
    let workers = Workers::new(engine.clone(), registry, env, shop.ambient.clone());
    let workers = workers.queue(WEBHOOKS, SLOTS).drain_timeout(Duration::ZERO);
    let relay = Relay::new(Arc::clone(&shop.orders), engine.clone(), shop.ambient.clone(), "relay");
    let stop = CancellationToken::new();
    let (first, second) = (stop.clone(), stop.clone());
    tokio::spawn(async move { relay.run(first).await });
    tokio::spawn(async move { workers.run(second).await.expect("runs") });
    (engine, stop)
}

fn env(shop: &TestMerchant) -> Env {
    let sender = WebhookSender::new(UrlPolicy { allow_loopback: true }, shop.ambient.clone());
    // A tenth of the default, so that all fifty count as slow soon.
    let limits = ShareLimits { quick: Duration::from_millis(300), ..ShareLimits::of_slots(SLOTS) };
    shop.env_sending(WebhookDelivery::new(sender.expect("a sender"), limits, shop.ambient.clone()))
}

/// The latency of each event.
async fn latencies(shop: &TestMerchant, receiver: &mut Receiver, first: i64, count: i64) -> Vec<Duration> {
    let mut all = Vec::new();
    for on_hand in first..first + count {
        let began = Instant::now();
        restock(shop, shop.merchant, on_hand).await;
        receiver.next().await;
        all.push(began.elapsed());
    }
    all.sort();
    all
}

#[tokio::test]
async fn silent_endpoints_of_one_merchant_hold_up_neither_others_nor_its_own_good_one() {
    let shop = TestMerchant::open().await;
    let (mut of_a, mut good_of_b, silent) =
        (Receiver::start().await, Receiver::start().await, Silent::start().await);
    shop.endpoint(&of_a.url).await;
    let mut urls = vec![silent.url.as_str(); SILENT - 1];
    urls.push(&good_of_b.url);
    let b = merchant(&shop, &urls).await;
    let (engine, stop) = start(&shop, env(&shop)).await;
    let calm = latencies(&shop, &mut of_a, 1, 50).await;
    for on_hand in 1..=EVENTS_OF_B {
        restock(&shop, b, on_hand).await;
    }
    until("B's endpoints to hold their share", || async { silent.accepted.load(Ordering::Relaxed) >= 3 })
        .await;

    let flooded = latencies(&shop, &mut of_a, 100, 50).await;
    eprintln!(
        "A calm: median {:?}, longest {:?}; flooded: {:?}, {:?}",
        calm[25], calm[49], flooded[25], flooded[49]
    );
    assert!(flooded[49] < SOON, "{flooded:?}");
    let events: std::collections::BTreeSet<String> = {
        let mut got = std::collections::BTreeSet::new();
        while got.len() < usize::try_from(EVENTS_OF_B).expect("fits") {
            got.insert(good_of_b.next().await.header("webhook-id").to_owned());
        }
        got
    };
    // The deliveries to silent receivers are still open.
    let open = deliveries(engine.as_ref()).await;
    assert!(open.len() >= (SILENT - 1) * events.len(), "{} wait", open.len());
    let late = latencies(&shop, &mut of_a, 200, 50).await;
    eprintln!("A once the silent are known: median {:?}, longest {:?}", late[25], late[49]);
    assert!(late[49] < SOON, "{late:?}");
    stop.cancel();
}

async fn deliveries(engine: &dyn Engine) -> Vec<InspectedJob> {
    let filter = JobFilter { limit: 1000, ..JobFilter::default() };
    let held = engine.list(&filter).await.expect("lists");
    held.into_iter().filter(|job| job.envelope.kind == "deliver_webhook").collect()
}

#[tokio::test]
async fn silent_endpoints_hold_their_merchants_share_while_others_are_sent_all_of_theirs() {
    let shop = TestMerchant::open().await;
    let carrier = Arc::new(Holding {
        silent: watch::Sender::new(0),
        most: AtomicUsize::new(0),
        answers: Semaphore::new(0),
        taken: watch::Sender::new(0),
    });
    let limits = ShareLimits::of_slots(SLOTS);
    let policy = UrlPolicy { allow_loopback: true };
    let sender = WebhookSender::through(carrier.clone(), policy);
    let webhooks = WebhookDelivery::new(sender, limits, shop.ambient.clone());
    shop.endpoint("http://127.0.0.1:8080/hook").await;
    let url = format!("http://127.0.0.1:8080{SILENT_PATH}");
    let b = merchant(&shop, &[url.as_str(); SILENT]).await;
    let (engine, stop) = start(&shop, shop.env_sending(webhooks)).await;
    for on_hand in 1..=EVENTS_OF_B {
        restock(&shop, b, on_hand).await;
    }
    reach(&carrier.silent, limits.per_merchant).await;
    // No message of B returns before all of A are sent.
    for (number, on_hand) in (1..=50).enumerate() {
        restock(&shop, shop.merchant, on_hand).await;
        reach(&carrier.taken, number + 1).await;
    }
    assert_eq!(*carrier.silent.borrow(), limits.per_merchant);
    // Released slots go to other messages of B, never to more than `per_merchant` at a time.
    carrier.answers.add_permits(limits.per_merchant);
    until("B's turns to come", || async {
        carrier.answers.available_permits() == 0 && *carrier.silent.borrow() == limits.per_merchant
    })
    .await;
    assert_eq!(carrier.most.load(Ordering::Relaxed), limits.per_merchant);
    let all_of_b = SILENT * usize::try_from(EVENTS_OF_B).expect("fits");
    until("A's to be done and B's to be there still", || async {
        deliveries(engine.as_ref()).await.len() == all_of_b
    })
    .await;
    let open = deliveries(engine.as_ref()).await;
    assert!(open.iter().all(|job| job.envelope.attempt <= 1), "waiting uses no attempt");
    stop.cancel();
}
