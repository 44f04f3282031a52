//! Deployment under audit: a shop with a queue that is worked off by hand, and an auditor.

use std::{sync::Arc, time::Duration};

use jobs::{
    Admin, Envelope, Job,
    engine::JobFilter,
    records::{AttemptOutcome, AttemptRecord, RecordStore},
    sqlite::SqliteEngine,
};
use store::{
    domain::{Order, OrderId},
    outbox::OutboxBody,
};
use workers::{
    Env,
    jobs::{ApplyProviderReport, ChargePayment, DeliverWebhook, FulfilOrder, RefundPayment, SendEmail},
    provider::PaymentProvider,
    subscriptions::expand,
    verify::{Code, Plan, Repair, Retention, Scope, Settled, Summary, Verify, Violation, Watch},
};

use crate::util::{TestMerchant, context};

pub(super) struct AuditDeployment {
    pub(super) shop: TestMerchant,
    pub(super) engine: Arc<SqliteEngine>,
    verify: Verify,
    provider: Arc<dyn PaymentProvider>,
}

#[derive(Default)]
struct Notes {
    violations: Vec<Violation>,
    progress: Vec<(u64, Option<f64>)>,
}

impl Watch for Notes {
    fn violation(&mut self, violation: &Violation) {
        self.violations.push(violation.clone());
    }

    fn progress(&mut self, orders: u64, part: Option<f64>) {
        self.progress.push((orders, part));
    }
}

impl AuditDeployment {
    pub(super) async fn open() -> Self {
        let shop = TestMerchant::open().await;
        let provider = Arc::new(shop.provider.clone());
        Self::open_at(shop, provider).await
    }

    /// A shop that charges at this provider.
    pub(super) async fn open_at(shop: TestMerchant, provider: Arc<dyn PaymentProvider>) -> Self {
        let engine = shop.engine().await;
        let verify = Verify {
            orders: Arc::clone(&shop.orders),
            payments: Arc::clone(&shop.payments),
            provider: Some(Arc::clone(&provider)),
            records: Arc::new(engine.records()),
            engine: engine.clone(),
            ambient: shop.ambient.clone(),
            kept: Retention::default(),
        };
        Self { shop, engine, verify, provider }
    }

    /// Publishes the outbox as jobs and runs them, until no further jobs follow.
    pub(super) async fn work(&self) {
        loop {
            let mut jobs = Vec::new();
            for message in self.shop.drain_outbox().await {
                let endpoints = match &message.body {
                    OutboxBody::Event(event) => {
                        self.shop.orders.subscribers(event.merchant, event.kind).await.expect("reads")
                    }
                    OutboxBody::Command { .. } | OutboxBody::Unreadable(_) => Vec::new(),
                };
                jobs.extend(expand(&message.body, &endpoints, &self.shop.ambient).expect("expands"));
            }
            for held in
                self.engine.list(&JobFilter { limit: 1000, ..JobFilter::default() }).await.expect("lists")
            {
                self.engine.cancel(held.envelope.id, "taken by a test").await.expect("takes");
                jobs.push(held.envelope);
            }
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                self.run(&job).await;
            }
        }
    }

    async fn run(&self, job: &Envelope) {
        async fn run<J: Job<Env = Env>>(env: Env, job: &Envelope) {
            let payload: J = serde_json::from_str(job.payload.get()).expect("decodes");
            // Calls in flight at the provider are not waited for, and failures are left to the audit.
            drop(payload.run(&context(env)).await);
        }
        let env = self.shop.env_with(Arc::clone(&self.shop.payments), Arc::clone(&self.provider));
        match job.kind.as_str() {
            ApplyProviderReport::KIND => run::<ApplyProviderReport>(env, job).await,
            ChargePayment::KIND => run::<ChargePayment>(env, job).await,
            FulfilOrder::KIND => run::<FulfilOrder>(env, job).await,
            RefundPayment::KIND => run::<RefundPayment>(env, job).await,
            SendEmail::KIND => run::<SendEmail>(env, job).await,
            DeliverWebhook::KIND => run::<DeliverWebhook>(env, job).await,
            other => panic!("no job {other}"),
        }
    }

    /// An order after its whole flow.
    pub(super) async fn served(&self) -> Order {
        let order = self.shop.place("pm_card_visa").await;
        self.work().await;
        self.shop.orders.order_by_id(order.id).await.expect("reads").expect("is there")
    }

    /// Charges without the shop; returns the charge.
    pub(super) async fn charge(&self, key: &str, order: Option<OrderId>) -> String {
        let body = serde_json::json!({
            "amount_minor": 2500, "currency": "EUR", "payment_method": "pm_card_visa", "metadata": { "order_id": order },
        });
        let (status, body) = self.shop.sandbox_post("/v1/charges", key, body).await;
        assert_eq!(status, 200, "{body}");
        let charge: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        charge["id"].as_str().expect("an id").to_owned()
    }

    pub(super) async fn plant(&self, file: &str, sql: &str) {
        self.shop.plant(file, sql).await;
    }

    pub(super) async fn audit(&self, scope: Scope, repair: bool) -> (Summary, Vec<Violation>) {
        let plan = Plan { scope, grace: Duration::ZERO, repair };
        let mut notes = Notes::default();
        let summary = self.verify.run(plan, &mut notes).await.expect("looks");
        assert_eq!(summary.total(), u64::try_from(notes.violations.len()).expect("few"));
        assert!(notes.progress.iter().all(|(_, part)| part.is_none_or(|part| (0.0..=1.0).contains(&part))));
        (summary, notes.violations)
    }

    /// Expects that an audit breaks off.
    pub(super) async fn breaks_off(&self, scope: Scope) {
        let plan = Plan { scope, grace: Duration::ZERO, repair: false };
        self.verify.run(plan, &mut Notes::default()).await.expect_err("cannot look at everything");
    }

    /// Records that the jobs which would resolve these violations ended as cancelled with this error.
    pub(super) async fn ended(&self, violations: &[Violation], error: &str) {
        let record = |violation: &Violation| {
            let Repair::Publish(job) = &violation.repair else { panic!("{violation:?}") };
            AttemptRecord {
                job: job.id,
                kind: job.kind.clone(),
                queue: job.queue.clone(),
                subject: None,
                attempt: 1,
                worker: "worker".to_owned(),
                created_at: self.shop.ambient.now(),
                started_at: self.shop.ambient.now(),
                duration: Duration::ZERO,
                outcome: AttemptOutcome::Cancelled,
                error: Some(error.to_owned()),
                trace: None,
            }
        };
        let records = violations.iter().map(record).collect();
        self.engine.records().append(records).await.expect("records");
    }

    /// The codes of a full audit, sorted.
    pub(super) async fn codes(&self) -> Vec<Code> {
        codes(&self.audit(Scope::Full, false).await.1)
    }

    /// Repairs by audit, does the work that follows, and expects no violation any more.
    pub(super) async fn repairs(&self) {
        let (summary, violations) = self.audit(Scope::Full, true).await;
        assert!(violations.iter().all(|violation| violation.repaired), "{violations:#?}");
        assert_eq!(summary.repaired, summary.total());
        self.work().await;
        assert_eq!(self.codes().await, [], "after the repair");
    }

    /// Settles the violations of an order.
    pub(super) async fn settle(&self, order: OrderId) -> Settled {
        self.verify.settle(order, "the bank was asked".to_owned()).await.expect("settles")
    }

    /// Requests repairs, and expects that the audit leaves the violation to manual action.
    pub(super) async fn leaves_to_people(&self) {
        let before = self.codes().await;
        let (_, violations) = self.audit(Scope::Full, true).await;
        assert!(violations.iter().any(|violation| !violation.repaired && !violation.repair.is_safe()));
        self.work().await;
        assert!(!self.codes().await.is_empty(), "{before:?} is not repaired by itself");
    }
}

pub(super) fn codes(violations: &[Violation]) -> Vec<Code> {
    let mut codes: Vec<Code> = violations.iter().map(|violation| violation.code).collect();
    codes.sort_unstable();
    codes
}
