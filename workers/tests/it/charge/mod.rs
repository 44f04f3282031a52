//! Charging: every behaviour of a provider, and a crash between any two steps, checked by the provider's ledger.

mod cancelled;
mod free;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Ambient, Timestamp};
use jobs::{Backoff, Job, JobError};
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use store::{
    PaymentStore,
    domain::{Decision, EventKind, Order, OrderId, OrderStatus, PaymentId},
    outbox::Command,
    payments::{Begun, NewPayment},
};
use workers::{
    jobs::{ChargePayment, RefundPayment},
    provider::{
        CaptureRequest, ChargeOutcome, ChargeQuery, ClientConfig, EntryKind, PaymentProvider, ProviderError,
        RefundOutcome, RefundRequest, capture_key,
        guard::{GuardConfig, Guarded},
        sandbox_client::SandboxProvider,
    },
    subscriptions::expand,
};

use crate::util::{CrashAt, CrashingPayments, CrashingProvider, Step, TestMerchant, context};

async fn assert_paid_once(shop: &TestMerchant, order: OrderId) {
    assert_eq!(shop.status(order).await, OrderStatus::Paid);
    let kinds = shop.event_kinds(order).await;
    assert_eq!(kinds, [EventKind::OrderPlaced, EventKind::PaymentCaptured, EventKind::OrderPaid]);
    let ledger = shop.ledger(order).await;
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!(
        (ledger[0].r#type, ledger[0].amount_minor, ledger[0].currency.as_str()),
        (EntryKind::Charge, 2500, "EUR")
    );
    let payment = shop.payments.payment(PaymentId::of_order(order)).await.expect("reads").expect("a payment");
    let reference = ledger[0].id.clone();
    assert_eq!(payment.decision, Some(Decision::Captured { provider_reference: reference }));
}

#[tokio::test]
async fn a_good_card_is_charged_once_however_often_the_job_is_delivered() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await;
    for _ in 0..3 {
        shop.run(&ChargePayment { order: order.id }).await.expect("runs");
    }
    assert_paid_once(&shop, order.id).await;
}

#[tokio::test]
async fn two_deliveries_at_once_charge_once() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await;
    let job = ChargePayment { order: order.id };
    let runs = futures::future::join_all((0..8).map(|_| shop.run(&job))).await;
    for error in runs.into_iter().filter_map(Result::err) {
        assert_eq!(error.describe(), "fenced_off_by_a_newer_attempt");
    }
    // Of the eight attempts all but the newest may have been fenced off; the newest has recorded.
    assert_paid_once(&shop, order.id).await;
}

#[tokio::test]
async fn declined_cards_end_the_order_with_the_code() {
    let shop = TestMerchant::open().await;
    for (method, code) in [
        ("pm_card_chargeDeclined", "card_declined"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_who_knows", "invalid_payment_method"),
    ] {
        let order = shop.place(method).await;
        for _ in 0..2 {
            shop.run(&ChargePayment { order: order.id }).await.expect("a decline is an outcome");
        }
        let order = shop.orders.order_by_id(order.id).await.expect("reads").expect("an order");
        assert_eq!((order.status, order.status_reason.as_deref()), (OrderStatus::PaymentFailed, Some(code)));
        assert_eq!(shop.event_kinds(order.id).await, [EventKind::OrderPlaced, EventKind::PaymentFailed]);
        assert!(shop.ledger(order.id).await.is_empty());
    }
}

#[tokio::test]
async fn a_slow_provider_is_waited_for() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_sandbox_slow").await;
    shop.run(&ChargePayment { order: order.id }).await.expect("runs");
    assert_paid_once(&shop, order.id).await;
}

#[tokio::test]
async fn a_charge_without_an_answer_is_found_by_its_key_in_the_same_run() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_sandbox_timeout").await;
    let provider = shop.impatient_provider(Duration::from_millis(300));
    let env = shop.env_with(Arc::clone(&shop.payments), Arc::new(provider));
    ChargePayment { order: order.id }.run(&context(env)).await.expect("found");
    assert_paid_once(&shop, order.id).await;
}

#[tokio::test]
async fn a_call_that_never_arrived_is_made_again_under_the_same_key() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_sandbox_slow").await;
    // The call times out before the sandbox captures: the lookup finds nothing, nothing is decided.
    let provider = shop.impatient_provider(Duration::from_millis(300));
    let env = shop.env_with(Arc::clone(&shop.payments), Arc::new(provider));
    let error = ChargePayment { order: order.id }.run(&context(env)).await.expect_err("unknown");
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");
    assert_eq!(shop.status(order.id).await, OrderStatus::Pending);
    let attempts = shop.payments.attempts(PaymentId::of_order(order.id)).await.expect("reads");
    assert_eq!(attempts[0].note.as_deref(), Some("provider_unknown: timeout"));
    shop.run(&ChargePayment { order: order.id }).await.expect("now with patience");
    assert_paid_once(&shop, order.id).await;
}

#[tokio::test]
async fn a_flaky_provider_is_asked_again_soon() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_sandbox_flaky").await;
    let job = ChargePayment { order: order.id };
    for _ in 0..2 {
        let error = shop.run(&job).await.expect_err("503");
        assert!(matches!(error, JobError::Retry(_)), "{error:?}");
        assert_eq!(error.describe(), "provider_unavailable");
    }
    shop.run(&job).await.expect("the third call works");
    assert_paid_once(&shop, order.id).await;
    let Backoff::FullJitter { base, cap } = ChargePayment::BACKOFF else { panic!("another backoff") };
    assert_eq!((base, cap), (Duration::from_millis(200), Duration::from_secs(30)));
}

#[tokio::test]
async fn a_provider_that_is_away_or_refuses_our_key_leaves_the_order_pending() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await;
    let job = ChargePayment { order: order.id };

    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let away = format!("http://{}", free.local_addr().expect("bound"));
    drop(free);
    for (url, key, note) in [
        (away.as_str(), "sk_sandbox_test", "provider_unavailable"),
        (shop.sandbox_url.as_str(), "sk_wrong", "provider_authentication"),
    ] {
        let config = ClientConfig {
            url: url.parse().expect("a URL"),
            key: key.into(),
            timeout: Duration::from_secs(5),
        };
        let provider = SandboxProvider::new(config, shop.ambient.clone()).expect("a client");
        let env = shop.env_with(Arc::clone(&shop.payments), Arc::new(provider));
        let error = job.run(&context(env)).await.expect_err("fails");
        // Rejected credentials are not caused by this charge: it uses no attempt.
        assert_eq!(matches!(error, JobError::Snooze(_)), key == "sk_wrong", "{error:?}");
        let attempts = shop.payments.attempts(PaymentId::of_order(order.id)).await.expect("reads");
        assert_eq!(attempts.last().and_then(|attempt| attempt.note.as_deref()), Some(note));
        assert_eq!(shop.status(order.id).await, OrderStatus::Pending);
    }
    shop.run(&job).await.expect("runs");
    assert_paid_once(&shop, order.id).await;
}

#[tokio::test]
async fn a_charge_while_no_call_is_let_through_begins_no_attempt() {
    let shop = TestMerchant::open().await;
    let job = ChargePayment { order: shop.place("pm_card_visa").await.id };
    let config = ClientConfig {
        url: shop.sandbox_url.parse().expect("a URL"),
        key: "sk_wrong".into(),
        timeout: Duration::from_secs(5),
    };
    let provider = SandboxProvider::new(config, shop.ambient.clone()).expect("a client");
    let guarded = Guarded::new(Arc::new(provider), GuardConfig::default(), shop.ambient.clone());
    let env = shop.env_with(Arc::clone(&shop.payments), Arc::new(guarded));
    for _ in 0..3 {
        let error = job.run(&context(env.clone())).await.expect_err("rejected credentials");
        assert!(matches!(error, JobError::Snooze(_)), "{error:?}");
    }
    let attempts = shop.payments.attempts(PaymentId::of_order(job.order)).await.expect("reads");
    assert_eq!(attempts.len(), 1, "{attempts:?}");
}

#[tokio::test]
async fn a_crash_after_any_step_leads_to_one_charge_and_one_paid_order() {
    let shop = TestMerchant::open().await;
    for method in ["pm_card_visa", "pm_sandbox_timeout"] {
        for step in [Step::Open, Step::Begin, Step::Capture, Step::Decide] {
            let order = shop.place(method).await;
            let job = ChargePayment { order: order.id };
            let crash = CrashAt::new(step);
            let provider = Arc::new(shop.impatient_provider(Duration::from_millis(300)));
            let payments = CrashingPayments { inner: Arc::clone(&shop.payments), crash: crash.clone() };
            let crashing = CrashingProvider { inner: provider.clone(), crash: crash.clone() };
            crash.run(&job, &context(shop.env_with(Arc::new(payments), Arc::new(crashing)))).await;
            assert_eq!(shop.status(order.id).await, OrderStatus::Pending, "{step:?}");

            let env = shop.env_with(Arc::clone(&shop.payments), provider);
            job.run(&context(env)).await.expect("the next delivery ends it");
            assert_paid_once(&shop, order.id).await;
        }
    }
    assert_eq!(shop.ledger_summary().await.orders_charged_more_than_once, 0);
}

#[tokio::test]
async fn a_stale_epoch_writes_nothing_and_the_newer_attempt_finds_the_same_charge() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await;
    let job = ChargePayment { order: order.id };
    let overtaken = Overtaken { inner: shop.provider.clone(), payments: Arc::clone(&shop.payments) };
    let env = shop.env_with(Arc::clone(&shop.payments), Arc::new(overtaken));
    // Whether the newer attempt will record it is unknown.
    let error = job.run(&context(env)).await.expect_err("the job stays");
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");
    assert_eq!(shop.status(order.id).await, OrderStatus::Pending);
    let payment =
        shop.payments.payment(PaymentId::of_order(order.id)).await.expect("reads").expect("a payment");
    assert_eq!(payment.decision, None);
    shop.run(&job).await.expect("runs");
    assert_paid_once(&shop, order.id).await;
}

#[tokio::test]
async fn a_decision_that_a_pending_order_did_not_take_is_applied_again() {
    for method in ["pm_card_visa", "pm_card_chargeDeclined"] {
        let shop = TestMerchant::open().await;
        let (job, file) =
            (ChargePayment { order: shop.place(method).await.id }, shop.folder.path().join("orders.db"));
        let mut other = SqliteConnectOptions::new().filename(file).connect().await.expect("opens");
        // The write finds no row, as one does that was planned before the row moved to another partition.
        let blind = "CREATE TRIGGER blind BEFORE UPDATE ON orders BEGIN SELECT RAISE(IGNORE); END";
        other.execute(blind).await.expect("plants");
        let error = shop.run(&job).await.expect_err("the job stays");
        assert!(matches!(error, JobError::Retry(_)), "{error:?}");
        other.execute("DROP TRIGGER blind").await.expect("drops");
        shop.run(&job).await.expect("applies");
        assert_ne!(shop.status(job.order).await, OrderStatus::Pending);
    }
}

/// Provider that lets another worker begin an attempt during the call.
struct Overtaken {
    inner: SandboxProvider,
    payments: Arc<dyn PaymentStore>,
}

#[async_trait]
impl PaymentProvider for Overtaken {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        let outcome = self.inner.capture(request).await;
        let payment = PaymentId::of_order(request.order);
        let begun =
            self.payments.begin_attempt(payment, "another", Timestamp::UNIX_EPOCH).await.expect("begins");
        assert_eq!(begun, Begun::Attempt { epoch: 2 });
        outcome
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        self.inner.find(charge).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        self.inner.refund(request).await
    }
}
