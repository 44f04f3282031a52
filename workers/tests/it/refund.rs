//! Refunds and fulfilment: effect once, whatever is repeated.

use std::sync::Arc;

use jobs::{Job, JobError};
use store::{
    domain::{EventKind, OrderId, OrderStatus, PaymentId, RefundId},
    orders::RefundRequested,
    outbox::Command,
};
use workers::{
    jobs::{ApplyProviderReport, ChargePayment, FulfilOrder, RefundPayment, SendEmail},
    provider::{ChargeOutcome, EntryKind, PaymentProvider},
    subscriptions::expand,
};

use crate::util::{CrashAt, CrashingPayments, CrashingProvider, Step, TestMerchant, context};

async fn paid(shop: &TestMerchant) -> OrderId {
    let order = shop.place("pm_card_visa").await;
    shop.run(&ChargePayment { order: order.id }).await.expect("charges");
    shop.drain_outbox().await;
    order.id
}

async fn refunds(shop: &TestMerchant, order: OrderId) -> Vec<i64> {
    let ledger = shop.ledger(order).await;
    ledger.iter().filter(|entry| entry.r#type == EntryKind::Refund).map(|entry| entry.amount_minor).collect()
}

#[tokio::test]
async fn parts_and_then_the_rest_are_given_back_each_once() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let part = shop.refund_job(order, Some(1000)).await;
    for _ in 0..2 {
        shop.run(&part).await.expect("refunds");
    }
    assert_eq!(shop.status(order).await, OrderStatus::Paid);
    let rest = shop.refund_job(order, None).await;
    for _ in 0..2 {
        shop.run(&rest).await.expect("refunds");
    }
    assert_eq!(shop.status(order).await, OrderStatus::Refunded);
    assert_eq!(refunds(&shop, order).await, [1000, 1500]);
}

#[tokio::test]
async fn a_crash_after_any_step_gives_the_money_back_once() {
    let shop = TestMerchant::open().await;
    for step in [Step::BeginRefund, Step::Refund, Step::EndRefund] {
        let order = paid(&shop).await;
        let job = shop.refund_job(order, None).await;
        let crash = CrashAt::new(step);
        let payments = CrashingPayments { inner: Arc::clone(&shop.payments), crash: crash.clone() };
        let provider = CrashingProvider { inner: Arc::new(shop.provider.clone()), crash: crash.clone() };
        crash.run(&job, &context(shop.env_with(Arc::new(payments), Arc::new(provider)))).await;
        assert_eq!(shop.status(order).await, OrderStatus::Paid, "{step:?}");
        shop.run(&job).await.expect("the next delivery ends it");
        assert_eq!(shop.status(order).await, OrderStatus::Refunded, "{step:?}");
        assert_eq!(refunds(&shop, order).await, [2500], "{step:?}");
    }
}

#[tokio::test]
async fn more_than_was_captured_is_never_given_back() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let job = RefundPayment { order, refund: RefundId::fresh(&shop.ambient), amount_minor: 2501 };
    let error = job.run(&context(shop.env())).await.expect_err("too much");
    assert!(matches!(error, JobError::Cancel(_)), "{error:?}");
    assert!(refunds(&shop, order).await.is_empty());
}

#[tokio::test]
async fn a_paid_order_is_shipped_once_and_others_are_not() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    for _ in 0..2 {
        shop.run(&FulfilOrder { order }).await.expect("ships");
    }
    assert_eq!(shop.status(order).await, OrderStatus::Fulfilled);
    let mug = shop.orders.product(shop.merchant, "mug").await.expect("reads").expect("a product");
    assert_eq!((mug.on_hand, mug.reserved), (998, 0));

    let cancelled = paid(&shop).await;
    shop.orders
        .cancel(shop.merchant, cancelled, "customer_request", shop.ambient.now())
        .await
        .expect("cancels");
    let error = shop.run(&FulfilOrder { order: cancelled }).await.expect_err("not any more");
    assert!(matches!(&error, JobError::Cancel(_)) && error.describe() == "order_cancelled", "{error:?}");
    let pending = shop.place("pm_card_visa").await;
    let error = shop.run(&FulfilOrder { order: pending.id }).await.expect_err("not yet");
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");
}

#[tokio::test]
async fn what_the_provider_reports_is_looked_up_and_changes_nothing_that_is_known() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let refund = shop.refund_job(order, Some(1000)).await;
    shop.run(&refund).await.expect("refunds");
    let charge = shop.ledger(order).await[0].id.clone();
    let report = shop.provider.report(&charge).await.expect("answers").expect("is known");
    assert_eq!((report.order, report.amount_minor), (Some(order), 2500));
    assert_eq!(report.outcome, Some(ChargeOutcome::Captured { provider_reference: charge.clone() }));
    let told: Vec<_> = report.refunds.iter().map(|told| (told.refund, told.amount_minor)).collect();
    assert_eq!(told, [(Some(refund.refund), 1000)]);
    assert_eq!(shop.provider.report("ch_none").await, Ok(None));

    let before = shop.orders.order_by_id(order).await.expect("reads");
    for _ in 0..2 {
        shop.run(&ApplyProviderReport { order, reference: charge.clone() }).await.expect("applies");
    }
    assert_eq!(shop.orders.order_by_id(order).await.expect("reads"), before);
    assert_eq!(refunds(&shop, order).await, [1000]);
}

#[tokio::test]
async fn a_report_that_comes_before_the_charge_is_recorded_records_it() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await.id;
    let crash = CrashAt::new(Step::Decide);
    let payments = CrashingPayments { inner: Arc::clone(&shop.payments), crash: crash.clone() };
    let env = shop.env_with(Arc::new(payments), Arc::new(shop.provider.clone()));
    crash.run(&ChargePayment { order }, &context(env)).await;
    let charge = shop.ledger(order).await[0].id.clone();
    shop.run(&ApplyProviderReport { order, reference: charge }).await.expect("applies");
    assert_eq!(shop.status(order).await, OrderStatus::Paid);
    shop.run(&ChargePayment { order }).await.expect("has nothing to do");
    assert_eq!(shop.ledger(order).await.len(), 1);
}

/// Refunds at the provider without the shop.
async fn refund_in_dashboard(shop: &TestMerchant, order: OrderId, amount_minor: i64) {
    let charge = shop.ledger(order).await[0].id.clone();
    let body = serde_json::json!({
        "charge": charge, "amount_minor": amount_minor, "metadata": { "order_id": order },
    });
    let (status, body) = shop.sandbox_post("/v1/refunds", "by-hand", body).await;
    assert_eq!(status, 200, "{body}");
}

async fn report(shop: &TestMerchant, order: OrderId) -> Result<(), JobError> {
    let reference = shop.ledger(order).await[0].id.clone();
    shop.run(&ApplyProviderReport { order, reference }).await
}

async fn refunded_minor(shop: &TestMerchant, order: OrderId) -> i64 {
    shop.orders.order_by_id(order).await.expect("reads").expect("is there").refunded_minor
}

#[tokio::test]
async fn a_refused_refund_leaves_its_amount_to_the_next_one() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let all = shop.refund_job(order, None).await;
    refund_in_dashboard(&shop, order, 400).await;
    for _ in 0..2 {
        let error = shop.run(&all).await.expect_err("more than is left at the provider");
        assert!(matches!(error, JobError::Cancel(_)), "{error:?}");
    }
    assert_eq!(shop.event_kinds(order).await.last(), Some(&EventKind::RefundFailed));
    report(&shop, order).await.expect("applies");
    assert_eq!(refunded_minor(&shop, order).await, 400);
    let refund = RefundId::fresh(&shop.ambient);
    let answer = shop.orders.request_refund(shop.merchant, order, refund, None, shop.ambient.now()).await;
    assert!(matches!(answer, Ok(RefundRequested::Accepted(..))), "{answer:?}");
    shop.run(&RefundPayment { order, refund, amount_minor: 2100 }).await.expect("refunds");
    assert_eq!(
        (shop.status(order).await, refunds(&shop, order).await),
        (OrderStatus::Refunded, vec![400, 2100])
    );
}

#[tokio::test]
async fn a_refund_that_one_made_by_hand_left_no_room_leaves_its_amount_to_the_next_one() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let all = shop.refund_job(order, None).await;
    refund_in_dashboard(&shop, order, 400).await;
    report(&shop, order).await.expect("applies");
    for _ in 0..2 {
        let error = shop.run(&all).await.expect_err("more than is left of the payment");
        assert_eq!(error.describe(), "refund_exceeds_captured");
    }
    assert_eq!(shop.event_kinds(order).await.last(), Some(&EventKind::RefundFailed));
    let rest = shop.refund_job(order, None).await;
    assert_eq!(rest.amount_minor, 2100);
    shop.run(&rest).await.expect("refunds");
    assert_eq!(
        (shop.status(order).await, refunds(&shop, order).await),
        (OrderStatus::Refunded, vec![400, 2100])
    );
}

#[tokio::test]
async fn a_reported_refund_waits_for_one_of_ours_that_leaves_it_no_room() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let all = shop.refund_job(order, None).await;
    let (payment, at) = (PaymentId::of_order(order), shop.ambient.now());
    shop.payments.begin_refund(payment, all.refund, all.amount_minor, at).await.expect("begins");
    refund_in_dashboard(&shop, order, 400).await;
    let error = report(&shop, order).await.expect_err("no room");
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");
    shop.run(&all).await.expect_err("more than is left at the provider");
    report(&shop, order).await.expect("applies");
    assert_eq!(refunded_minor(&shop, order).await, 400);
}

#[tokio::test]
async fn a_cancelled_order_keeps_no_money_of_a_refused_refund() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let part = shop.refund_job(order, Some(300)).await;
    let at = shop.ambient.now();
    let payment = PaymentId::of_order(order);
    shop.payments.begin_refund(payment, part.refund, 300, at).await.expect("begins");
    shop.payments.end_refund(payment, part.refund, false, "charge_disputed", at).await.expect("ends");
    shop.orders.cancel(shop.merchant, order, "changed_mind", at).await.expect("cancels");
    shop.run(&part).await.expect_err("was refused");
    for command in shop.commands().await {
        let Command::Refund { order, refund, amount_minor } = command else { panic!("{command:?}") };
        shop.run(&RefundPayment { order, refund, amount_minor }).await.expect("refunds");
    }
    assert_eq!(refunds(&shop, order).await, [2200, 300]);
}

#[tokio::test]
async fn an_order_whose_money_goes_back_is_not_shipped() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let all = shop.refund_job(order, None).await;
    let held = shop.run(&FulfilOrder { order }).await.expect_err("all of its money is asked back");
    assert!(matches!(held, JobError::Snooze(_)), "{held:?}");
    shop.run(&all).await.expect("refunds");
    assert_eq!(shop.status(order).await, OrderStatus::Refunded);
    let ended = shop.run(&FulfilOrder { order }).await.expect_err("it was refunded");
    assert_eq!(ended.describe(), "order_refunded");
    let mug = shop.orders.product(shop.merchant, "mug").await.expect("reads").expect("a product");
    assert_eq!((mug.on_hand, mug.reserved), (1000, 0));
}

/// Two of the same amount are two mails, repeated or not; the last refund is told as that of the order.
#[tokio::test]
async fn each_partial_refund_is_mailed_once() {
    let shop = TestMerchant::open().await;
    let order = paid(&shop).await;
    let mut expected = Vec::new();
    for amount in [Some(1000), Some(1000), None] {
        let job = shop.refund_job(order, amount).await;
        shop.run(&job).await.expect("refunds");
        expected.push(match amount {
            Some(_) => (format!("partial_refund.{}", job.refund), "10.00 EUR"),
            None => ("order_refunded".to_owned(), "25.00 EUR"),
        });
        for message in shop.drain_outbox().await {
            let jobs = expand(&message.body, &[], &shop.ambient).expect("expands");
            for mail in jobs.iter().filter(|job| job.kind == SendEmail::KIND) {
                let mail: SendEmail = serde_json::from_str(mail.payload.get()).expect("decodes");
                for _ in 0..2 {
                    shop.run(&mail).await.expect("mails");
                }
            }
        }
    }
    let sent = shop.orders.mails(order.into()).await.expect("reads");
    assert_eq!(sent.len(), expected.len(), "{sent:?}");
    for (template, amount) in expected {
        assert!(sent.iter().any(|mail| mail.template == template), "{template} in {sent:?}");
        let file = shop.mail_folder().join(format!("{order}.{template}.eml"));
        let text = std::fs::read_to_string(file).expect("a mail");
        assert!(text.contains(amount), "{amount} in {text}");
    }
}
