//! Webhooks: signature, body, schedule, and every behaviour of a receiver.

use std::{sync::atomic::Ordering, time::Duration};

use jobs::{Backoff, Job, JobError};
use serde_json::json;
use standardwebhooks::Webhook;
use store::{
    domain::{EndpointId, Event, EventId, EventKind, OrderId, PageRequest},
    outbox::Command,
    webhooks::{EndpointChange, EndpointFinding, SecretRotated, SecretRotation, WebhookAttempt},
};
use webhooks::{
    TOTAL_TIMEOUT,
    shares::{FAILURES_MAX, REST_MAX},
};
use workers::{jobs::DeliverWebhook, subscriptions::expand};

use crate::{
    not_found::ends_after_a_window,
    util::{Receiver, SECRET, TestMerchant, context},
};

async fn placed(shop: &TestMerchant) -> (OrderId, Event) {
    let order = shop.place("pm_card_visa").await;
    let events = shop.orders.order_events(order.id, 0).await.expect("reads");
    (order.id, events.into_iter().next().expect("order.placed"))
}

fn job(endpoint: EndpointId, event: &Event) -> DeliverWebhook {
    DeliverWebhook { endpoint, event: event.id, order: event.order, again: false }
}

async fn attempts(shop: &TestMerchant, order: OrderId) -> Vec<WebhookAttempt> {
    shop.orders.attempts_of_order(order).await.expect("reads")
}

#[tokio::test]
async fn a_delivery_verifies_with_the_official_library_and_carries_the_trace() {
    let shop = TestMerchant::open().await;
    let mut receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (order, event) = placed(&shop).await;
    let mut ctx = context(shop.env());
    ctx.trace = ctx.trace.map(|trace| trace.with_state(["vendor=1"]));
    job(endpoint, &event).run(&ctx).await.expect("delivers");

    let received = receiver.next().await;
    let verifier = Webhook::new(SECRET).expect("a secret");
    verifier.verify(&received.body, &received.headers).expect("a valid signature");
    verifier.verify(b"{}", &received.headers).expect_err("the body is signed");
    assert_eq!(received.header("webhook-id"), event.id.to_string());
    assert_eq!(received.header("content-type"), "application/json");
    let trace = ctx.trace.as_ref().expect("a trace");
    assert_eq!((received.header("traceparent"), received.header("tracestate")), (trace.parent(), "vendor=1"));

    let body = received.json();
    let keys: Vec<_> = body.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
    assert_eq!(body["id"], event.id.to_string());
    assert_eq!(body["type"], "order.placed");
    assert_eq!(body["sequence"], 1);
    assert_eq!(body["timestamp"], event.at.to_string());
    assert_eq!(body["data"], event.data);

    let log = attempts(&shop, order).await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].status, log[0].error.as_deref(), log[0].attempt), (Some(200), None, 1));
}

#[tokio::test]
async fn messages_are_signed_with_both_secrets_during_a_rotation() {
    let shop = TestMerchant::open().await;
    let mut receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (_, event) = placed(&shop).await;
    let fresh = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for (overlap, signatures) in [(24, 2), (0, 1)] {
        let at = shop.ambient.now();
        let until = base::time::later(at, Duration::from_hours(overlap));
        // The second one takes the overlap of the first away.
        let secret = if overlap > 0 { fresh.to_owned() } else { fresh.replace("AAEC", "BBEC") };
        let rotation = SecretRotation { secret: secret.clone(), at, until };
        let rotated = shop.orders.rotate_secret(shop.merchant, endpoint, rotation).await.expect("rotates");
        assert!(matches!(rotated, SecretRotated::Rotated(_)));
        shop.run(&DeliverWebhook { again: true, ..job(endpoint, &event) }).await.expect("delivers");
        let received = receiver.next().await;
        assert_eq!(received.header("webhook-signature").split(' ').count(), signatures);
        let verifies = |secret: &str| {
            let verifier = Webhook::new(secret).expect("a secret");
            verifier.verify(&received.body, &received.headers).is_ok()
        };
        assert!(verifies(&secret));
        assert_eq!(verifies(SECRET), overlap > 0);
    }
}

#[tokio::test]
async fn what_was_delivered_is_not_sent_again_unless_asked_for() {
    let shop = TestMerchant::open().await;
    let mut receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (_, event) = placed(&shop).await;
    let job = job(endpoint, &event);
    shop.run(&job).await.expect("delivers");
    let first = receiver.next().await;
    shop.run(&job).await.expect("skips");
    assert!(receiver.is_empty());
    shop.run(&DeliverWebhook { again: true, ..job }).await.expect("delivers again");
    let second = receiver.next().await;
    assert_eq!(
        (first.body.clone(), first.header("webhook-id")),
        (second.body.clone(), second.header("webhook-id"))
    );
}

#[tokio::test]
async fn a_delivery_on_request_comes_under_the_same_id() {
    let shop = TestMerchant::open().await;
    let mut receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (_, event) = placed(&shop).await;
    shop.run(&job(endpoint, &event)).await.expect("delivers");
    let first = receiver.next().await;
    let (merchant, endpoints) = (shop.merchant, vec![endpoint]);
    let command = Command::Resend { merchant, event: event.id, order: event.order, endpoints };
    let id = EventId::fresh(&shop.ambient);
    shop.orders.submit(id, command, shop.ambient.now()).await.expect("stores");
    for message in shop.drain_outbox().await {
        let jobs = expand(&message.body, &[], &shop.ambient).expect("expands");
        for envelope in jobs.iter().filter(|envelope| envelope.kind == DeliverWebhook::KIND) {
            let job: DeliverWebhook = serde_json::from_str(envelope.payload.get()).expect("a payload");
            shop.run(&job).await.expect("delivers");
        }
    }
    let second = receiver.next().await;
    assert_eq!((&first.body, first.header("webhook-id")), (&second.body, second.header("webhook-id")));
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn failures_are_logged_and_follow_the_schedule() {
    let shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (order, event) = placed(&shop).await;
    // A redirect is a failure and is not followed: the second request would be answered 200.
    for status in [500, 302, 404] {
        receiver.then(status, &[("location", "/hook")]);
        let error = shop.run(&job(endpoint, &event)).await.expect_err("fails");
        assert!(matches!(error, JobError::Retry(_)), "{error:?}");
        assert_eq!(error.describe(), format!("status_{status}"));
    }
    let log = attempts(&shop, order).await;
    let statuses: Vec<_> = log.iter().map(|a| (a.status, a.error.as_deref())).collect();
    assert_eq!(
        statuses,
        [(Some(500), Some("status")), (Some(302), Some("status")), (Some(404), Some("status"))]
    );
    let Backoff::Table(schedule) = DeliverWebhook::BACKOFF else { panic!("a table") };
    assert_eq!(schedule.iter().sum::<Duration>(), Duration::from_secs(5 + 35 * 60 + 75 * 3600));
    assert_eq!(usize::try_from(DeliverWebhook::MAX_ATTEMPTS).expect("fits"), schedule.len() + 1);
}

#[tokio::test]
async fn a_receiver_may_ask_for_a_longer_wait_but_not_for_a_shorter_one() {
    let shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (_, event) = placed(&shop).await;
    for (status, asked, at_least, at_most) in
        [(429, "120", 120, 120), (503, "1", 5, 6), (503, "999999", 86_400, 86_400)]
    {
        receiver.then(status, &[("retry-after", asked)]);
        let error = shop.run(&job(endpoint, &event)).await.expect_err("throttled");
        let JobError::RetryAfter(wait, _) = error else { panic!("{error:?}") };
        assert!((at_least..=at_most).contains(&wait.as_secs()), "{asked}: {wait:?}");
    }
}

#[tokio::test]
async fn gone_disables_the_endpoint() {
    let shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (_, event) = placed(&shop).await;
    receiver.then(410, &[]);
    let error = shop.run(&job(endpoint, &event)).await.expect_err("gone");
    assert!(matches!(&error, JobError::Cancel(_)) && error.describe() == "endpoint_gone", "{error:?}");
    let stored = shop.orders.endpoint_by_id(endpoint).await.expect("reads").expect("an endpoint");
    assert!(!stored.enabled);
    let error = shop.run(&job(endpoint, &event)).await.expect_err("disabled");
    assert!(matches!(&error, JobError::Cancel(_)) && error.describe() == "endpoint_disabled", "{error:?}");
}

#[tokio::test]
async fn the_last_failure_ends_as_cancelled_and_not_as_dead() {
    let shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (_, event) = placed(&shop).await;
    receiver.then(503, &[("retry-after", "5")]);
    let mut ctx = context(shop.env());
    ctx.attempt = ctx.max_attempts;
    let error = job(endpoint, &event).run(&ctx).await.expect_err("the last one");
    assert!(matches!(&error, JobError::Cancel(_)), "{error:?}");
    assert_eq!(error.describe(), "undeliverable: status_503");
}

#[tokio::test]
async fn a_blocked_address_is_refused_with_a_code() {
    let shop = TestMerchant::open().await;
    let endpoint = shop.endpoint("https://169.254.169.254/latest/meta-data").await;
    let (order, event) = placed(&shop).await;
    let error = shop.run(&job(endpoint, &event)).await.expect_err("blocked");
    assert_eq!(error.describe(), "unreachable_name");
    let log = attempts(&shop, order).await;
    assert_eq!((log[0].status, log[0].error.as_deref()), (None, Some("unreachable_name")));
}

#[tokio::test]
async fn a_receiver_that_is_away_has_a_code_too() {
    let shop = TestMerchant::open().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", free.local_addr().expect("bound"));
    drop(free);
    let endpoint = shop.endpoint(&url).await;
    let (_, event) = placed(&shop).await;
    let error = shop.run(&job(endpoint, &event)).await.expect_err("away");
    assert_eq!(error.describe(), "connect");
}

#[tokio::test]
async fn a_deleted_endpoint_ends_the_job() {
    let shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (_, event) = placed(&shop).await;
    let off = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
    shop.orders.update_endpoint(shop.merchant, endpoint, off).await.expect("updates");
    assert!(matches!(shop.run(&job(endpoint, &event)).await, Err(JobError::Cancel(_))));
    assert!(shop.orders.delete_endpoint(shop.merchant, endpoint).await.expect("deletes"));
    ends_after_a_window(&shop, &job(endpoint, &event), "endpoint_not_found").await;
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_waited_for_without_attempts_and_given_up_on_after_days() {
    let shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    let (order, event) = placed(&shop).await;
    let (job, mut ctx) = (job(endpoint, &event), context(shop.env()));
    for attempt in 1..=FAILURES_MAX {
        receiver.then(500, &[]);
        ctx.attempt = attempt;
        let error = job.run(&ctx).await.expect_err("fails");
        assert!(matches!(error, JobError::Retry(_)), "{error:?}");
    }
    ctx.attempt = FAILURES_MAX + 1;
    let error = job.run(&ctx).await.expect_err("the endpoint rests");
    assert!(matches!(error, JobError::Snooze(wait) if wait <= REST_MAX), "{error:?}");
    assert_eq!(attempts(&shop, order).await.len(), 5, "waiting is no attempt");

    let days = Duration::from_hours(5 * 24 + 1);
    ctx.created_at = ctx.created_at.saturating_sub(days).expect("in range");
    let error = job.run(&ctx).await.expect_err("given up");
    assert!(matches!(error, JobError::Cancel(_)), "{error:?}");
    // For an audit this last attempt ends the delivery.
    let last = attempts(&shop, order).await.pop().expect("an attempt");
    assert_eq!((last.attempt, last.error.as_deref()), (ctx.max_attempts, Some("endpoint_rests")));
}

#[tokio::test]
async fn a_first_attempt_waits_briefly_and_the_next_one_in_full() {
    let shop = TestMerchant::open().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = shop.endpoint(&format!("http://{}/hook", silent.local_addr().expect("bound"))).await;
    let (order, event) = placed(&shop).await;
    let (job, ctx) = (job(endpoint, &event), context(shop.env()));
    let error = job.run(&ctx).await.expect_err("silent");
    assert_eq!(error.describe(), "timeout");
    let took = attempts(&shop, order).await[0].duration;
    assert!(took >= Duration::from_secs(3) && took < TOTAL_TIMEOUT, "{took:?}");
    // In the slow lane now: the second post to it waits for the first, which is held.
    let (first, second) = (job.run(&ctx), job.run(&ctx));
    let (first, second) = (Box::pin(first), Box::pin(second));
    let (futures::future::Either::Left((ended, _)) | futures::future::Either::Right((ended, _))) =
        futures::future::select(first, second).await;
    assert!(matches!(ended, Err(JobError::Snooze(_))), "{ended:?}");
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_disabled_and_the_merchants_others_are_told() {
    let shop = TestMerchant::open().await;
    let (bad, good) = (Receiver::start().await, Receiver::start().await);
    let (failing, other) = (shop.endpoint(&bad.url).await, shop.endpoint(&good.url).await);
    let (_, event) = placed(&shop).await;
    let (job_of_bad, mut ctx) = (job(failing, &event), context(shop.env()));
    let since = ctx.ambient.now().checked_sub(Duration::from_hours(5 * 24)).expect("in range");
    let fails = EndpointFinding::Fails { disable_after: None };
    shop.orders.note_endpoint(shop.merchant, failing, &bad.url, fails, since).await.expect("notes");
    let is_enabled = async || {
        let endpoint = shop.orders.endpoint_by_id(failing).await.expect("reads").expect("is there");
        endpoint.enabled
    };
    bad.then(500, &[]);
    job_of_bad.run(&ctx).await.expect_err("fails");
    assert!(is_enabled().await, "one new message says nothing yet");
    bad.then(500, &[]);
    ctx.attempt = 5;
    job_of_bad.run(&ctx).await.expect_err("fails");
    assert!(!is_enabled().await);
    assert_eq!(ctx.env.webhooks.endpoints_disabled.load(Ordering::Relaxed), 1);
    ctx.attempt = 6;
    let error = job_of_bad.run(&ctx).await.expect_err("disabled");
    assert_eq!(error.describe(), "endpoint_disabled");

    let page = PageRequest { limit: 1, after: None };
    let told = shop.orders.events(shop.merchant, page).await.expect("reads").items.remove(0);
    assert_eq!(told.kind, EventKind::WebhookEndpointDisabled);
    assert_eq!((&told.data["id"], &told.data["disabled"]["reason"]), (&json!(failing), &json!("failing")));
    assert_eq!(shop.orders.subscribers(shop.merchant, told.kind).await.expect("reads"), [other]);
    shop.run(&job(other, &told)).await.expect("is taken");

    let on = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    shop.orders.update_endpoint(shop.merchant, failing, on).await.expect("updates");
    bad.then(500, &[]);
    ctx.attempt = 7;
    job_of_bad.run(&ctx).await.expect_err("fails");
    assert!(is_enabled().await, "its days start over");
}
