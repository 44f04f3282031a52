//! Outbox relay: no message lost, none doubled, wherever it stops.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jobs::{
    Engine, Envelope, ErrorClass, JobId, Publish,
    engine::{Capabilities, EngineError, EngineInfo, Event, JobFilter, Published},
};
use store::domain::Order;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use workers::{jobs::ChargePayment, relay::Relay, subscriptions::job_id};

use crate::util::{Receiver, TestMerchant, soon, until};

pub(crate) fn relay(shop: &TestMerchant, engine: Arc<dyn Publish>) -> Relay {
    let mut relay = Relay::new(Arc::clone(&shop.orders), engine, shop.ambient.clone(), "relay");
    // Long, so that a message in time proves a wake-up and not a poll.
    relay.poll_interval = Duration::from_mins(10);
    relay
}

async fn held(engine: &dyn Engine) -> Vec<JobId> {
    let filter = JobFilter { limit: 1000, ..JobFilter::default() };
    engine.list(&filter).await.expect("lists").into_iter().map(|job| job.envelope.id).collect()
}

/// Engine that fails or blocks publishing in front of a real one.
struct Gate {
    inner: Arc<dyn Engine>,
    down: AtomicBool,
    /// Queue of which no job is taken.
    shut: Mutex<Option<&'static str>>,
    /// Blocks for ever once the inner engine has confirmed.
    crash_after_publish: AtomicBool,
    reached: Notify,
    announced: Mutex<Vec<Event>>,
}

impl Gate {
    fn new(inner: Arc<dyn Engine>) -> Arc<Self> {
        let (down, crash_after_publish) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self {
            inner,
            down,
            shut: Mutex::default(),
            crash_after_publish,
            reached: Notify::new(),
            announced: Mutex::default(),
        })
    }
}

impl EngineInfo for Gate {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.publishes_events = true;
        capabilities
    }
}

#[async_trait]
impl Publish for Gate {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        if self.down.load(Ordering::SeqCst) {
            self.reached.notify_one();
            return Err(EngineError::new(ErrorClass::Unavailable, "gate", "closed"));
        }
        let shut = *self.shut.lock().expect("not poisoned");
        if envelopes.iter().any(|envelope| shut == Some(envelope.queue.as_str())) {
            return Err(EngineError::new(ErrorClass::Unavailable, "gate", "shut"));
        }
        let published = self.inner.publish(envelopes).await;
        if self.crash_after_publish.load(Ordering::SeqCst) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        published
    }

    async fn publish_events(&self, events: Vec<Event>) -> Result<(), EngineError> {
        self.announced.lock().expect("not poisoned").extend(events);
        Ok(())
    }
}

async fn nothing_waits(shop: &TestMerchant) -> bool {
    shop.orders.backlog().await.expect("reads").messages == 0
}

#[tokio::test]
async fn an_order_wakes_the_relay_and_becomes_jobs() {
    let shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let engine: Arc<dyn Engine> = shop.engine().await;
    let relay = relay(&shop, engine.clone());
    let mut health = relay.health.subscribe();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { relay.run(stop).await }
    });
    // The first round has found nothing, and the relay waits.
    soon("the first look", health.wait_for(|health| health.last_success.is_some())).await.expect("runs");
    let order = shop.place("pm_card_visa").await;
    soon("publishing", health.wait_for(|health| health.jobs_published == 2)).await.expect("runs");
    let event = shop.orders.order_events(order.id, 0).await.expect("reads")[0].id;
    let mut expected =
        [job_id(event.0, "charge_payment", ""), job_id(event.0, "deliver_webhook", &endpoint.to_string())];
    let mut found = held(engine.as_ref()).await;
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(nothing_waits(&shop).await);
    stop.cancel();
    soon("leaving", running).await.expect("leaves cleanly");
}

#[tokio::test]
async fn jobs_name_their_merchant_and_mails_the_domain_that_limits_them() {
    let shop = TestMerchant::open().await;
    let engine: Arc<dyn Engine> = shop.engine().await;
    let order = shop.place("pm_card_visa").await.id;
    shop.run(&ChargePayment { order }).await.expect("charges");
    shop.ask_refund(order, Some(100)).await;
    let relay = Relay { mail_domains: true, ..relay(&shop, engine.clone()) };
    let stop = CancellationToken::new();
    let sent = async {
        until("all is sent", || nothing_waits(&shop)).await;
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), sent);
    let filter = JobFilter { limit: 1000, ..JobFilter::default() };
    let jobs = engine.list(&filter).await.expect("lists");
    let mut kinds: Vec<&str> = jobs.iter().map(|job| job.envelope.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["charge_payment", "fulfil_order", "refund_payment", "send_email"]);
    for job in jobs.iter().map(|job| &job.envelope) {
        assert_eq!(job.fair_key, Some(shop.merchant.to_string()), "{job:?}");
        assert_eq!(job.payload.get().contains("customer.example"), job.kind == "send_email", "{job:?}");
    }
}

#[tokio::test]
async fn a_crash_between_publish_and_mark_publishes_the_same_jobs_again() {
    let shop = TestMerchant::open().await;
    let engine: Arc<dyn Engine> = shop.engine().await;
    let gate = Gate::new(Arc::clone(&engine));
    gate.crash_after_publish.store(true, Ordering::SeqCst);
    shop.place("pm_card_visa").await;
    let crashing = relay(&shop, gate.clone());
    tokio::select! {
        () = crashing.run(CancellationToken::new()) => panic!("left"),
        () = gate.reached.notified() => {}
    }
    drop(crashing);
    let before = held(engine.as_ref()).await;
    assert_eq!(before.len(), 1);
    assert!(!nothing_waits(&shop).await, "not marked");

    let again = relay(&shop, engine.clone());
    let stop = CancellationToken::new();
    let check = async {
        until("marking", || nothing_waits(&shop)).await;
        stop.cancel();
    };
    tokio::join!(again.run(stop.clone()), check);
    assert_eq!(held(engine.as_ref()).await, before, "the same id, held once");
}

#[tokio::test]
async fn programs_outside_are_told_what_merchants_are_told() {
    let shop = TestMerchant::open().await;
    let gate = Gate::new(shop.engine().await);
    let order = shop.place("pm_card_visa").await;
    let relay = relay(&shop, gate.clone());
    let stop = CancellationToken::new();
    let check = async {
        until("marking", || nothing_waits(&shop)).await;
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), check);
    let event = shop.orders.order_events(order.id, 0).await.expect("reads").remove(0);
    let expected = Event {
        id: event.id.to_string(),
        topic: "order.placed".to_owned(),
        source: event.merchant.to_string(),
        body: workers::event_body::body_of(&event),
        trace: event.trace,
    };
    assert_eq!(*gate.announced.lock().expect("not poisoned"), [expected]);
}

#[tokio::test]
async fn an_engine_that_is_down_is_waited_for() {
    let shop = TestMerchant::open().await;
    let engine: Arc<dyn Engine> = shop.engine().await;
    let gate = Gate::new(Arc::clone(&engine));
    gate.down.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        shop.place("pm_card_visa").await;
    }
    let relay = relay(&shop, gate.clone());
    let mut health = relay.health.subscribe();
    let stop = CancellationToken::new();
    let check = async {
        soon("trouble", health.wait_for(|health| health.trouble.is_some())).await.expect("runs");
        assert!(held(engine.as_ref()).await.is_empty());
        gate.down.store(false, Ordering::SeqCst);
        soon("recovery", health.wait_for(|health| health.messages_sent == 3)).await.expect("runs");
        assert_eq!(health.borrow().trouble, None);
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), check);
    assert_eq!(held(engine.as_ref()).await.len(), 3);
}

#[tokio::test]
async fn a_queue_that_takes_nothing_holds_up_no_other() {
    let start = base::Timestamp::from_millisecond(1_700_000_000_000).expect("in range");
    let (ambient, clock) = base::Ambient::steered(3, start);
    let shop = TestMerchant::open_with(ambient).await;
    let engine: Arc<dyn Engine> = shop.engine().await;
    let gate = Gate::new(Arc::clone(&engine));
    *gate.shut.lock().expect("not poisoned") = Some("webhooks");
    let receiver = Receiver::start().await;
    shop.endpoint(&receiver.url).await;
    let mut relay = relay(&shop, gate.clone());
    relay.poll_interval = Duration::from_millis(10);
    let mut health = relay.health.subscribe();
    let stop = CancellationToken::new();
    let check = async {
        let orders = [shop.place("pm_card_visa").await, shop.place("pm_card_visa").await];
        let charge = async |order: &Order| {
            let event = shop.orders.order_events(order.id, 0).await.expect("reads")[0].id;
            job_id(event.0, "charge_payment", "")
        };
        let mut charges = [charge(&orders[0]).await, charge(&orders[1]).await];
        charges.sort_unstable();
        soon("setting aside", health.wait_for(|health| health.set_aside == 2)).await.expect("runs");
        let mut found = held(engine.as_ref()).await;
        found.sort_unstable();
        assert_eq!(found, charges);
        assert_eq!(shop.orders.list_set_aside(10).await.expect("lists").len(), 2);

        *gate.shut.lock().expect("not poisoned") = None;
        clock.advance(Duration::from_mins(2));
        soon("sending", health.wait_for(|health| health.messages_sent == 2)).await.expect("runs");
        assert!(nothing_waits(&shop).await);
        assert_eq!(held(engine.as_ref()).await.len(), 4, "each job once");
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), check);
}

#[tokio::test]
async fn a_relay_leaves_while_the_engine_is_down() {
    let shop = TestMerchant::open().await;
    let gate = Gate::new(shop.engine().await);
    gate.down.store(true, Ordering::SeqCst);
    shop.place("pm_card_visa").await;
    let relay = relay(&shop, gate.clone());
    let stop = CancellationToken::new();
    let check = async {
        gate.reached.notified().await;
        stop.cancel();
    };
    soon("leaving", async { tokio::join!(relay.run(stop.clone()), check) }).await;
    assert!(!nothing_waits(&shop).await, "kept for later");
}

#[tokio::test]
async fn more_than_one_batch_is_published_whole() {
    let shop = TestMerchant::open().await;
    let engine: Arc<dyn Engine> = shop.engine().await;
    futures::future::join_all((0..300).map(|_| shop.place("pm_card_visa"))).await;
    let relay = relay(&shop, engine.clone());
    let mut health = relay.health.subscribe();
    let stop = CancellationToken::new();
    let check = async {
        soon("all", health.wait_for(|health| health.messages_sent == 300)).await.expect("runs");
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), check);
    assert_eq!(held(engine.as_ref()).await.len(), 300);
}
