//! Tests of the housekeeping jobs and their schedules, over files, and over PostgreSQL where there is a server.

use base::{
    Ambient,
    ambient::ManualClock,
    testing::{scratch, skip},
    time::{earlier, later},
};
use cache::SqliteSessions;
use jobs::{
    Admin as _, Consume as _, Envelope, Job, JobContext, JobError, JobId, Publish as _,
    engine::{ConsumeOptions, DeadReason, Interrupt, JobFilter, JobSignal, QueueSpec, Settlement},
    envelope::EnqueueOptions,
    job_store::SqliteJobStore,
    reporter::RunReporter,
    schedule::Scheduler,
    sqlite::SqliteEngine,
};
use sqlx::Connection as _;
use store::{
    OrderStore,
    catalog::ProductData,
    domain::{Customer, MerchantId, Order, OrderId, OrderStatus},
    orders::{IdempotencyKey, NewLine, NewOrder, PlaceOutcome},
};
use store_sqlite::{SqliteOrders, SqlitePayments};
use tempfile::TempDir;
use workers::{
    housekeeping::{HousekeepingEnv, HousekeepingParts, ScheduledAudit},
    jobs::{AuditChanges, DeleteExpired, DropDeadJobs, ExpireOrders, MaintainPartitions, ORDERS_SLICE},
    queues::HOUSEKEEPING,
    schedules::schedules,
    verify::{Retention, Summary, Verify},
};

use super::*;

mod reservations;

struct TestHousekeeping {
    parts: HousekeepingEnv,
    engine: SqliteEngine,
    merchant: MerchantId,
    ambient: Ambient,
    folder: TempDir,
}

impl TestHousekeeping {
    /// Over this order store, with 2,000 units of `cup`.
    async fn over(orders: Arc<dyn OrderStore>, folder: TempDir, ambient: Ambient) -> Self {
        let path = |name: &str| folder.path().join(name);
        let engine = SqliteEngine::open(&path("queue.db"), ambient.clone()).await.expect("opens");
        let sessions = SqliteSessions::open(&path("sessions.db"), ambient.clone()).await.expect("opens");
        let parts = HousekeepingParts {
            orders,
            sessions: Arc::new(StoredSessions(Arc::new(sessions))),
            records: Arc::new(engine.records()),
            records_keep: Duration::from_hours(1),
            engine: Arc::new(engine.clone()),
            dead_keep: Duration::from_hours(1),
            dead_most: 10,
            partitions: None,
            pending_expires: None,
            debit_expires: None,
            audit: None,
        };
        let (merchant, at) = (MerchantId::fresh(&ambient), ambient.now());
        parts.orders.ensure_merchant(merchant, "Shop", at).await.expect("stores");
        let product = ProductData {
            sku: "cup".to_owned(),
            name: "Cup".to_owned(),
            description: None,
            category: "things".to_owned(),
            price_minor: 100,
            currency: "EUR".parse().expect("a currency"),
            low_stock_at: -1,
        };
        parts.orders.put_product(merchant, product, at).await.expect("stores");
        parts.orders.put_inventory(merchant, "cup", 2_000, at, None).await.expect("stores");
        Self { parts: Arc::new(parts), engine, merchant, ambient, folder }
    }

    /// Over files, with a clock that the test moves.
    async fn open(pending_expires: Option<Duration>) -> (Self, ManualClock) {
        let start = Timestamp::from_millisecond(1_700_000_000_000).expect("a time");
        let ((ambient, clock), folder) = (Ambient::steered(9, start), tempfile::tempdir().expect("a folder"));
        let orders = SqliteOrders::open(&folder.path().join("orders.db"), ambient.clone()).await;
        let mut test = Self::over(Arc::new(orders.expect("opens")), folder, ambient).await;
        test.set().pending_expires = pending_expires;
        (test, clock)
    }

    fn set(&mut self) -> &mut HousekeepingParts {
        Arc::get_mut(&mut self.parts).expect("no run holds them")
    }

    async fn run<J: Job<Env = HousekeepingEnv>>(&self, job: &J) -> Result<(), JobError> {
        self.run_until(job, JobSignal::default()).await
    }

    async fn run_until<J: Job<Env = HousekeepingEnv>>(
        &self,
        job: &J,
        signal: JobSignal,
    ) -> Result<(), JobError> {
        let ambient = self.ambient.clone();
        let ctx = JobContext {
            env: Arc::clone(&self.parts),
            id: JobId::fresh(&ambient),
            attempt: 1,
            max_attempts: J::MAX_ATTEMPTS,
            created_at: ambient.now(),
            trace: None,
            signal,
            reports: RunReporter::default(),
            ambient,
        };
        job.run(&ctx).await
    }

    async fn placed(&self) -> Order {
        let order = NewOrder {
            id: OrderId::fresh(&self.ambient),
            merchant: self.merchant,
            customer: Customer { email: "ada@example.com".to_owned(), name: "Ada".to_owned() },
            account: None,
            token: None,
            currency: "EUR".parse().expect("a currency"),
            lines: vec![NewLine { sku: "cup".to_owned(), quantity: 1 }],
            reservation: None,
            pricing: None,
            expected_total_minor: None,
            payment_method: "pm_card_visa".to_owned(),
            shipping_address: None,
            reference: None,
            idempotency: IdempotencyKey { key: self.ambient.uuid().to_string(), fingerprint: [1; 32] },
            trace: None,
            estimated_fulfilment_at: None,
            at: self.ambient.now(),
        };
        match self.parts.orders.place_order(order).await.expect("answers") {
            PlaceOutcome::Placed { order, .. } => *order,
            other => panic!("not placed: {other:?}"),
        }
    }

    async fn status(&self, id: OrderId) -> OrderStatus {
        self.parts.orders.order_by_id(id).await.expect("reads").expect("is there").status
    }

    /// Units of `cup` on hand and reserved.
    async fn stock(&self) -> (i64, i64) {
        let cup = self.parts.orders.product(self.merchant, "cup").await.expect("reads").expect("is there");
        (cup.on_hand, cup.reserved)
    }
}

/// A signal that a stop has fired.
fn stopped() -> JobSignal {
    let signal = JobSignal::default();
    signal.fire(Interrupt::Shutdown);
    signal
}

#[tokio::test]
async fn nothing_expires_while_the_clock_differs_from_the_servers() {
    if let Some(reason) = scratch::skipped() {
        return skip(&reason);
    }
    let (folder, database) = (tempfile::tempdir().expect("a folder"), scratch::Scratch::create().await);
    let (config, real) = (database.config(), Ambient::system());
    PostgresOrders::migrate(&config, real.clone()).await.expect("migrates");
    let orders = PostgresOrders::connect(&config, real.clone()).await.expect("connects");
    let day = Duration::from_hours(24);
    let (past, _) = Ambient::steered(5, earlier(real.now(), day * 2));
    let mut test = TestHousekeeping::over(Arc::new(orders.clone()), folder, past).await;
    let order = test.placed().await;
    let keep = Family::ALL.map(|family| (family, day)).to_vec();
    test.set().pending_expires = Some(day);
    test.set().partitions = Some(Arc::new(Partitioning { tables: Arc::new(orders), keep }));
    let (ahead, _) = Ambient::steered(9, later(real.now(), day * 400));
    for (ambient, is_right, status) in
        [(ahead, false, OrderStatus::Pending), (real, true, OrderStatus::Cancelled)]
    {
        test.ambient = ambient;
        assert_eq!(test.run(&ExpireOrders {}).await.is_ok(), is_right);
        assert_eq!(test.run(&DeleteExpired {}).await.is_ok(), is_right);
        assert_eq!(test.run(&DropDeadJobs {}).await.is_ok(), is_right);
        assert_eq!(test.run(&MaintainPartitions {}).await.is_ok(), is_right);
        assert_eq!(test.status(order.id).await, status);
    }
}

#[tokio::test]
async fn more_than_a_slice_of_stale_orders_expires_and_young_ones_stay() {
    let (test, clock) = TestHousekeeping::open(Some(Duration::from_mins(30))).await;
    for _ in 0..=ORDERS_SLICE {
        test.placed().await;
    }
    clock.advance(Duration::from_mins(31));
    let young = test.placed().await;
    test.run(&ExpireOrders {}).await.expect("runs");
    assert_eq!(test.stock().await, (2_000, 1));
    assert_eq!(test.status(young.id).await, OrderStatus::Pending);
}

#[tokio::test]
async fn orders_that_cannot_be_expired_keep_no_other_from_expiring() {
    let (test, clock) = TestHousekeeping::open(Some(Duration::from_mins(30))).await;
    for _ in 0..=ORDERS_SLICE {
        test.placed().await;
    }
    let url = format!("sqlite://{}", test.folder.path().join("orders.db").display());
    let mut file = sqlx::SqliteConnection::connect(&url).await.expect("opens");
    sqlx::query("UPDATE orders SET lines = 'nonsense'").execute(&mut file).await.expect("plants");
    // Pages go by id, and ids of one millisecond have no order.
    clock.advance(Duration::from_millis(1));
    let whole = test.placed().await;
    clock.advance(Duration::from_mins(31));
    test.run(&ExpireOrders {}).await.expect("runs");
    let status = test.status(whole.id).await;
    assert_eq!(status, OrderStatus::Cancelled, "though a page of older ones cannot be");
    assert_eq!(test.stock().await.1, i64::from(ORDERS_SLICE) + 1, "those keep their stock");
}

#[tokio::test]
async fn orders_wait_for_good_where_that_is_set_and_bank_debits_have_their_own_limit() {
    let (mut test, clock) = TestHousekeeping::open(None).await;
    let (order, year) = (test.placed().await, Duration::from_hours(24 * 365));
    test.parts.orders.note_debit(order.id, test.ambient.now()).await.expect("notes");
    clock.advance(year);
    for (pending, debit, status) in [
        (None, None, OrderStatus::Pending),
        (Some(year / 2), None, OrderStatus::Pending),
        (Some(year / 2), Some(year * 2), OrderStatus::Pending),
        (Some(year / 4), Some(year / 2), OrderStatus::Cancelled),
    ] {
        (test.set().pending_expires, test.set().debit_expires) = (pending, debit);
        test.run(&ExpireOrders {}).await.expect("runs");
        assert_eq!(test.status(order.id).await, status, "{pending:?} {debit:?}");
    }
}

#[tokio::test]
async fn a_stop_ends_a_run_between_slices_and_the_next_one_goes_on() {
    let (test, clock) = TestHousekeeping::open(Some(Duration::from_mins(30))).await;
    let order = test.placed().await;
    clock.advance(Duration::from_mins(31));
    for (signal, status) in
        [(stopped(), OrderStatus::Pending), (JobSignal::default(), OrderStatus::Cancelled)]
    {
        test.run_until(&ExpireOrders {}, signal).await.expect("runs");
        assert_eq!(test.status(order.id).await, status);
    }
}

#[tokio::test]
async fn old_dead_jobs_expire_and_a_queue_keeps_its_newest() {
    let (mut test, clock) = TestHousekeeping::open(None).await;
    let (engine, queue) = (test.engine.clone(), "doomed");
    engine.declare(&[QueueSpec::new(queue)]).await.expect("declares");
    let lease = Duration::from_secs(30);
    let options = ConsumeOptions { name: "test".to_owned(), prefetch: 1, lease };
    let mut consumer = engine.consume(queue, options).await.expect("consumes");
    let mut ids = Vec::new();
    for _ in 0..5 {
        let options = EnqueueOptions::default();
        let envelope = Envelope::new(&DropDeadJobs {}, options, &test.ambient).expect("a job");
        ids.push(envelope.id);
        let envelope = Envelope { queue: queue.to_owned(), unique_key: None, ..envelope };
        engine.publish(vec![envelope]).await.expect("publishes");
        let delivery = consumer.deliveries.recv().await.expect("a delivery");
        let dead = Settlement::Dead { reason: DeadReason::Exhausted, error: "no".to_owned() };
        // The order of deaths is that of their times.
        clock.advance(Duration::from_millis(1));
        consumer.settler.settle(delivery.receipt, dead);
    }
    consumer.settler.close().await.expect("closes");
    let held = async || {
        let mut held = Vec::new();
        for id in &ids {
            held.push(engine.find(*id).await.expect("finds").is_some());
        }
        held
    };
    test.set().dead_most = 5;
    test.run(&DropDeadJobs {}).await.expect("runs");
    assert_eq!(held().await, [true; 5]);
    test.set().dead_most = 2;
    test.run(&DropDeadJobs {}).await.expect("runs");
    assert_eq!(held().await, [false, false, false, true, true]);
    clock.advance(Duration::from_hours(2));
    test.run(&DropDeadJobs {}).await.expect("runs");
    assert_eq!(held().await, [false; 5]);
}

#[tokio::test]
async fn an_audit_reports_its_totals_and_an_interrupted_one_reports_nothing() {
    let (mut test, _) = TestHousekeeping::open(None).await;
    let file = test.folder.path().join("payments.db");
    let payments = SqlitePayments::open(&file, test.ambient.clone()).await.expect("opens");
    let verify = Verify {
        orders: Arc::clone(&test.parts.orders),
        payments: Arc::new(payments),
        provider: None,
        engine: Arc::new(test.engine.clone()),
        records: Arc::clone(&test.parts.records),
        ambient: test.ambient.clone(),
        kept: Retention::default(),
    };
    let minute = Duration::from_mins(1);
    let (sender, reports) = std::sync::mpsc::channel();
    let report = Box::new(move |summary: &Summary, at: Timestamp| {
        sender.send((summary.total(), at)).expect("the test listens");
    });
    test.set().audit = Some(ScheduledAudit { verify, every: minute, grace: minute, report });
    assert!(test.run_until(&AuditChanges {}, stopped()).await.is_err(), "so a worker gives it back");
    assert!(reports.try_recv().is_err());
    test.run(&AuditChanges {}).await.expect("runs");
    assert_eq!(reports.try_recv(), Ok((0, test.ambient.now())));
}

fn scheduler(test: &TestHousekeeping, store: &Arc<SqliteJobStore>, name: &str) -> Scheduler {
    let (store, engine) = (store.clone(), Arc::new(test.engine.clone()));
    let scheduler = Scheduler::new(store, engine, name, test.ambient.clone());
    let schedules = schedules(&test.parts).expect("schedules").into_iter();
    schedules.fold(scheduler, |scheduler, schedule| scheduler.with(schedule).expect("another name"))
}

#[tokio::test]
async fn one_of_two_schedulers_publishes_and_runs_do_not_pile_up() {
    let (mut test, clock) = TestHousekeeping::open(None).await;
    let file = test.folder.path().join("jobs.db");
    let store = Arc::new(SqliteJobStore::open(&file, test.ambient.clone()).await.expect("opens"));
    assert_eq!(schedules(&test.parts).expect("schedules").len(), 3, "nothing is switched on");
    test.set().pending_expires = Some(Duration::from_mins(30));
    test.engine.declare(&[QueueSpec::new(HOUSEKEEPING)]).await.expect("declares");
    let (mut first, mut second) = (scheduler(&test, &store, "first"), scheduler(&test, &store, "second"));
    for _ in 0..30 {
        assert!(first.pass().await.expect("passes"));
        assert!(!second.pass().await.expect("passes"));
        clock.advance(Duration::from_mins(1));
    }
    let filter = JobFilter { queue: Some(HOUSEKEEPING.to_owned()), limit: 100, ..JobFilter::default() };
    let held = test.engine.list(&filter).await.expect("lists");
    let mut kinds: Vec<_> = held.iter().map(|job| job.envelope.kind.as_str()).collect();
    kinds.sort_unstable();
    let expected = ["delete_expired", "drop_dead_jobs", "expire_orders", "expire_reservations"];
    assert_eq!(kinds, expected, "one run of each waits");
}
