//! Deliveries that were given up and mails that were refused, sent again by a bulk operation.

use std::{sync::Arc, time::Duration};

use jobs::{
    Admin, Job, JobId,
    bulk::{BulkFilter, Operation, OperationAdmin, OperationRunner, Plan, Verb},
    job_store::SqliteJobStore,
    records::{AttemptOutcome, AttemptRecord, RecordStore},
    sqlite::SqliteRecords,
};
use store::domain::{EventKind, OrderId};
use workers::{
    ended_items::{EndedItemsParts, MAILS, WEBHOOKS, ended_items},
    jobs::{ChargePayment, DeliverWebhook, SendEmail},
    mail::Template,
    subscriptions::job_id,
};

use crate::util::TestMerchant;

/// The last attempt of a job that ended as cancelled a minute ago.
fn cancelled(
    shop: &TestMerchant,
    job: JobId,
    kind: &str,
    order: Option<OrderId>,
    error: &str,
) -> AttemptRecord {
    let started_at = shop.ambient.now() - Duration::from_mins(1);
    AttemptRecord {
        job,
        kind: kind.to_owned(),
        queue: "email".to_owned(),
        subject: order.map(|order| order.to_string()),
        attempt: 10,
        worker: "w-1".to_owned(),
        created_at: started_at,
        started_at,
        duration: Duration::from_millis(20),
        outcome: AttemptOutcome::Cancelled,
        error: Some(error.to_owned()),
        trace: None,
    }
}

async fn carried_out(admin: &OperationAdmin<'_>, runner: &mut OperationRunner, plan: Plan) -> Operation {
    let id = admin.preview(plan).await.expect("previews").id;
    admin.confirm(id, None).await.expect("confirms");
    runner.pass().await.expect("passes");
    admin.find(id).await.expect("is kept")
}

#[tokio::test]
async fn given_up_deliveries_and_refused_mails_are_sent_again() {
    let shop = TestMerchant::open().await;
    let endpoint = shop.endpoint("http://127.0.0.1:9/hook").await;
    let order = shop.place("pm_card_visa").await.id;
    shop.run(&ChargePayment { order }).await.expect("charges");
    let events = shop.orders.order_events(order, 0).await.expect("reads");
    let paid = events.iter().find(|event| event.kind == EventKind::OrderPaid).expect("is paid");
    let delivery = job_id(paid.id.0, DeliverWebhook::KIND, &endpoint.to_string());
    let mail = job_id(paid.id.0, SendEmail::KIND, &Template::OrderConfirmation.name());
    let stray = JobId::fresh(&shop.ambient);

    let path = |name: &str| shop.folder.path().join(name);
    let records = Arc::new(SqliteRecords::open(&path("records.db")).await.expect("opens"));
    let ended = vec![
        cancelled(&shop, delivery, DeliverWebhook::KIND, Some(order), "undeliverable: status_500"),
        cancelled(&shop, mail, SendEmail::KIND, Some(order), "smtp_refused_550"),
        cancelled(&shop, stray, DeliverWebhook::KIND, None, "undeliverable: status_500"),
    ];
    records.append(ended.into()).await.expect("records");
    let (engine, ambient) = (shop.engine().await, shop.ambient.clone());
    let parts = EndedItemsParts {
        orders: shop.orders.clone(),
        records,
        engine: engine.clone(),
        ambient,
        mail_domains: false,
    };
    let items = ended_items(&parts);
    let store = SqliteJobStore::open(&path("jobs.db"), shop.ambient.clone()).await.expect("opens");
    let admin = OperationAdmin { store: &store, items: &items, ambient: &shop.ambient };
    let mut runner =
        OperationRunner::new(Arc::new(store.clone()), items.to_vec(), "one", shop.ambient.clone());

    let retry = |name: &str| Plan::new(name, Verb::Retry, "ada", "a test");
    let of_order = BulkFilter { subject: Some(order.to_string()), ..BulkFilter::default() };
    for (name, job) in [(WEBHOOKS, delivery), (MAILS, mail)] {
        assert!(engine.find(job).await.expect("finds").is_none());
        let plan = Plan { filter: of_order.clone(), ..retry(name) };
        let ended = carried_out(&admin, &mut runner, plan).await;
        assert_eq!((ended.counts.matched, ended.counts.done, ended.counts.failed), (1, 1, 0), "{ended:?}");
        let held = engine.find(job).await.expect("finds").expect("is published").envelope;
        assert_eq!((held.attempt, held.subject), (0, Some(order.to_string())));
    }
    let held = engine.find(delivery).await.expect("finds").expect("is published").envelope;
    let payload: DeliverWebhook = serde_json::from_str(held.payload.get()).expect("a payload");
    assert_eq!((payload.endpoint, payload.event, payload.again), (endpoint, paid.id, false));

    let ended = carried_out(&admin, &mut runner, retry(WEBHOOKS)).await;
    assert_eq!((ended.counts.matched, ended.counts.failed), (2, 1), "it has no order");
    assert!(ended.last_error.is_some_and(|error| error.contains("request it again")));
    let none =
        Plan { filter: BulkFilter { error_contains: Some("550".to_owned()), ..of_order }, ..retry(WEBHOOKS) };
    let none = admin.preview(none).await.expect_err("nothing matches").to_string();
    assert!(none.contains("nothing matches"), "{none}");
    let wrong =
        admin.preview(Plan::new(MAILS, Verb::Cancel, "ada", "a test")).await.expect_err("no such verb");
    assert!(wrong.to_string().contains("can be retried"), "{wrong}");
}
