//! Circuit breaker in a whole flow: while the provider fails, this process leaves its queue alone and uses no attempts;
//! afterwards work continues by itself.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use jobs::{
    Engine,
    engine::{JobFilter, JobState},
    sqlite::SqliteEngine,
    worker::{Workers, WorkersHealth},
};
use store::domain::{OrderId, OrderStatus, PaymentId};
use tokio_util::sync::CancellationToken;
use workers::{
    provider::{
        CaptureRequest, PaymentProvider, ProviderError,
        breaker::{BreakerConfig, Standing},
        capture_key,
        guard::{GuardConfig, Guarded, Rate},
    },
    queues::PAYMENTS,
    registry::registry,
    relay::Relay,
};

use crate::util::{Front, TestMerchant, sandbox_client, soon, until};

const SLOTS: usize = 4;
const ORDERS: usize = 12;
const IN_A_ROW: u32 = 3;

/// Relay and workers over a sandbox with programmed failures.
struct Flow {
    shop: TestMerchant,
    front: Front,
    guarded: Arc<Guarded>,
    engine: Arc<dyn Engine>,
    health: WorkersHealth,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
}

impl Flow {
    async fn start(config: BreakerConfig) -> Self {
        let shop = TestMerchant::open().await;
        let front = Front::of(&shop.sandbox_url).await;
        let provider = sandbox_client(&front.url, Duration::from_secs(5), shop.ambient.clone());
        let config = GuardConfig { breaker: config, ..GuardConfig::default() };
        let guarded = Arc::new(Guarded::new(Arc::new(provider), config, shop.ambient.clone()));
        let path = shop.folder.path().join("queue.db");
        let engine: Arc<dyn Engine> =
            Arc::new(SqliteEngine::open(&path, shop.ambient.clone()).await.expect("opens"));
        let env = shop.env_with(Arc::clone(&shop.payments), guarded.clone());
        let registry = Arc::new(registry().expect("distinct kinds"));
        let workers = Workers::new(engine.clone(), registry, env, shop.ambient.clone());
        let workers = workers.queue_behind(PAYMENTS, SLOTS, guarded.breaker().gate());
        let (health, stop) = (workers.health(), CancellationToken::new());
        let relay = Relay::new(Arc::clone(&shop.orders), engine.clone(), shop.ambient.clone(), "relay");
        let mut tasks = tokio::task::JoinSet::new();
        let (first, second) = (stop.clone(), stop.clone());
        tasks.spawn(async move { relay.run(first).await });
        tasks.spawn(async move { workers.run(second).await.expect("runs") });
        Self { shop, front, guarded, engine, health, stop, tasks }
    }

    async fn place(&self) -> Vec<OrderId> {
        let mut orders = Vec::new();
        for _ in 0..ORDERS {
            orders.push(self.shop.place("pm_card_visa").await.id);
        }
        orders
    }

    async fn opens(&self) {
        let mut standing = self.guarded.breaker().standing();
        let open = standing.wait_for(|standing| matches!(standing, Standing::Open { .. }));
        soon("the breaker's opening", open).await.expect("it lives");
    }

    /// The jobs in the queue of payments, with their attempts used so far.
    async fn attempts(&self) -> Vec<(JobState, u32)> {
        let filter = JobFilter { queue: Some(PAYMENTS.to_owned()), limit: 1000, ..JobFilter::default() };
        let held = self.engine.list(&filter).await.expect("lists");
        held.into_iter().map(|job| (job.state, job.envelope.attempt)).collect()
    }

    async fn all_paid_once(&self, orders: &[OrderId]) {
        for order in orders {
            until("the charge", async || self.shop.status(*order).await == OrderStatus::Paid).await;
            assert_eq!(self.shop.ledger(*order).await.len(), 1);
        }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic");
        }
    }
}

#[tokio::test]
async fn a_failing_provider_is_given_a_rest_and_its_queue_is_left_alone() {
    let config = BreakerConfig {
        in_a_row: IN_A_ROW,
        // Long enough to observe the state.
        pause_min: Duration::from_secs(2),
        pause_max: Duration::from_secs(2),
        ..BreakerConfig::default()
    };
    let flow = Flow::start(config).await;
    flow.front.fail(503);
    let orders = flow.place().await;
    flow.opens().await;
    let left_alone = async || {
        let idle = flow.attempts().await.iter().all(|(state, _)| *state != JobState::Running);
        idle && flow.health.queues()[0].held_back
    };
    until("the queue's rest", left_alone).await;
    // The calls in flight when the breaker opened, and no more.
    let calls = flow.front.seen().len();
    assert!(calls <= SLOTS + IN_A_ROW as usize, "{calls} calls");
    let used: u32 = flow.attempts().await.iter().map(|(_, attempts)| attempts).sum();
    assert!(used as usize <= calls, "{used} attempts for {calls} calls");
    // It does not recover by itself: each probe is one call.
    let mut standing = flow.guarded.breaker().standing();
    for _ in 0..2 {
        soon("a probe", standing.wait_for(|standing| matches!(standing, Standing::HalfOpen { .. })))
            .await
            .expect("lives");
        soon("its failure", standing.wait_for(|standing| matches!(standing, Standing::Open { .. })))
            .await
            .expect("lives");
    }
    assert_eq!(flow.front.seen().len(), calls + 2);
    flow.front.fail(0);
    flow.all_paid_once(&orders).await;
    assert_eq!(*standing.borrow(), Standing::Closed);
    assert!(flow.health.is_ready());
    flow.stop().await;
}

#[tokio::test]
async fn refused_credentials_use_no_attempt() {
    let config = BreakerConfig { pause_refused: Duration::from_millis(400), ..BreakerConfig::default() };
    let flow = Flow::start(config).await;
    flow.front.fail(401);
    let orders = flow.place().await;
    for _ in 0..3 {
        flow.opens().await;
        let mut standing = flow.guarded.breaker().standing();
        soon("a probe", standing.wait_for(|standing| !matches!(standing, Standing::Open { .. })))
            .await
            .expect("lives");
    }
    let attempts = flow.attempts().await;
    assert_eq!(attempts.len(), ORDERS);
    assert!(attempts.iter().all(|(_, attempts)| *attempts == 0), "{attempts:?}");
    flow.front.fail(0);
    flow.stop().await;
    drop(orders);
}

#[tokio::test]
async fn no_more_calls_leave_than_the_rate_allows_and_the_rest_come_again() {
    let shop = TestMerchant::open().await;
    let front = Front::of(&shop.sandbox_url).await;
    let provider = sandbox_client(&front.url, Duration::from_secs(5), shop.ambient.clone());
    let ten = NonZeroU32::new(10).expect("not zero");
    let config = GuardConfig { rate: Some(Rate { per_second: ten, burst: ten }), ..GuardConfig::default() };
    let guarded = Guarded::new(Arc::new(provider), config, shop.ambient.clone());
    let call = async || {
        let order = OrderId::fresh(&shop.ambient);
        let payment = PaymentId::of_order(order);
        let request = CaptureRequest {
            idempotency_key: capture_key(payment),
            amount_minor: 100,
            currency: "EUR".parse().expect("a currency"),
            method: "pm_card_visa".to_owned(),
            order,
            payment,
            attempt: 1,
            charge: None,
        };
        guarded.capture(&request).await
    };
    let began = std::time::Instant::now();
    let answers = futures::future::join_all((0..60).map(|_| call())).await;
    let seconds = began.elapsed().as_secs_f64();
    let turned_away =
        answers.iter().filter(|answer| matches!(answer, Err(ProviderError::Paused { .. }))).count();
    let made = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(made + turned_away, answers.len(), "{answers:?}");
    assert_eq!(front.seen().len(), made, "who was turned away was not heard of");
    // The burst, the refill since, and one for the difference of the clocks.
    let allowed = 10.0 + seconds * 10.0 + 1.0;
    let calls = f64::from(u32::try_from(made).expect("few"));
    assert!(turned_away > 0 && calls <= allowed, "{made} in {seconds} s");
}
