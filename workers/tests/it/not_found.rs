//! Jobs whose subject the store does not have: they look for it over a window before they end.

use std::time::Duration;

use jobs::{Job, JobError};
use store::domain::{CustomerId, EndpointId, EventId, OrderId, RefundId, VerificationId};
use workers::{
    Env,
    jobs::{
        ApplyProviderReport, ChargePayment, DeliverWebhook, FulfilOrder, RefundPayment, SendEmail,
        SendVerification, SendWelcome,
    },
    mail::Template,
};

use crate::util::{Receiver, TestMerchant, context};

/// Runs the job as an attempt of this number, so long after its publishing.
async fn attempt<J: Job<Env = Env>>(shop: &TestMerchant, job: &J, attempt: u32, age: Duration) -> JobError {
    let mut ctx = context(shop.env());
    (ctx.attempt, ctx.created_at) = (attempt, shop.ambient.now() - age);
    job.run(&ctx).await.expect_err("it is not there")
}

/// Expects that a job whose subject is missing looks again, also if it waited for long before its first run, and ends
/// as cancelled when the window is over or its attempts are used.
pub(crate) async fn ends_after_a_window<J: Job<Env = Env>>(shop: &TestMerchant, job: &J, why: &str) {
    let (young, old) = (Duration::from_mins(1), Duration::from_hours(24));
    for (number, age, ends) in
        [(1, young, false), (9, young, false), (1, old, false), (6, old, true), (10, young, true)]
    {
        let error = attempt(shop, job, number, age).await;
        assert_eq!(error.describe(), why);
        match error {
            JobError::Cancel(_) if ends => {}
            JobError::RetryAfter(delay, _) if !ends => assert!(delay >= Duration::from_secs(10), "{delay:?}"),
            other => panic!("attempt {number} after {age:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn jobs_without_their_subject_look_again_over_a_window_before_they_end() {
    let shop = TestMerchant::open().await;
    let (order, ambient) = (OrderId::fresh(&shop.ambient), &shop.ambient);
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    ends_after_a_window(&shop, &ChargePayment { order }, "order_not_found").await;
    ends_after_a_window(&shop, &FulfilOrder { order }, "order_not_found").await;
    let template = Template::OrderConfirmation;
    ends_after_a_window(&shop, &SendEmail { order, template, domain: None }, "order_not_found").await;
    let refund = RefundPayment { order, refund: RefundId::fresh(ambient), amount_minor: 5 };
    ends_after_a_window(&shop, &refund, "payment_not_found").await;
    let report = ApplyProviderReport { order, reference: "pi_1".to_owned() };
    ends_after_a_window(&shop, &report, "payment_not_found").await;
    let welcome = SendWelcome { customer: CustomerId::fresh(ambient), domain: None };
    ends_after_a_window(&shop, &welcome, "customer_not_found").await;
    let verification = SendVerification {
        merchant: shop.merchant,
        verification: VerificationId::fresh(ambient),
        domain: None,
    };
    ends_after_a_window(&shop, &verification, "verification_not_found").await;
    let event = EventId::fresh(ambient);
    let webhook = DeliverWebhook { endpoint, event, order: None, again: false };
    ends_after_a_window(&shop, &webhook, "event_not_found").await;
    let webhook = DeliverWebhook { endpoint: EndpointId::fresh(ambient), ..webhook };
    ends_after_a_window(&shop, &webhook, "endpoint_not_found").await;
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn a_job_of_a_moment_ago_looks_more_often_than_one_that_waits() {
    let shop = TestMerchant::open().await;
    let job = ChargePayment { order: OrderId::fresh(&shop.ambient) };
    let mut total = Duration::ZERO;
    for number in 1..=5 {
        let JobError::RetryAfter(delay, _) = attempt(&shop, &job, number, total).await else {
            panic!("ended after {total:?}")
        };
        total += delay;
    }
    assert!((600..=720).contains(&total.as_secs()), "{total:?}");
    assert!(matches!(attempt(&shop, &job, 6, total).await, JobError::Cancel(_)));
}
