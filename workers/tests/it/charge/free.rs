//! Cases of orders with the total 0: paid without a charge.

use store::domain::PaymentState;
use workers::{jobs::SendEmail, mail::Template, provider::NO_PROVIDER};

use super::*;
use crate::util::sandbox_client;

async fn free(shop: &TestMerchant) -> Order {
    shop.price(0).await;
    let order = shop.place("pm_card_chargeDeclined").await;
    assert_eq!(order.total_minor, 0);
    order
}

/// It is out of service, and nothing notices.
#[tokio::test]
async fn a_free_order_is_paid_without_the_provider() {
    let shop = TestMerchant::open().await;
    let order = free(&shop).await;
    let nowhere = sandbox_client("http://127.0.0.1:9", Duration::from_secs(1), shop.ambient.clone());
    let env = shop.env_with(Arc::clone(&shop.payments), Arc::new(nowhere));
    for _ in 0..2 {
        ChargePayment { order: order.id }.run(&context(env.clone())).await.expect("needs no provider");
    }
    assert_eq!(shop.status(order.id).await, OrderStatus::Paid);
    let kinds = shop.event_kinds(order.id).await;
    assert_eq!(kinds, [EventKind::OrderPlaced, EventKind::PaymentCaptured, EventKind::OrderPaid]);
    let payment =
        shop.payments.payment(PaymentId::of_order(order.id)).await.expect("reads").expect("a payment");
    assert_eq!((payment.state(), payment.provider.as_str()), (PaymentState::Captured, NO_PROVIDER));
    shop.run(&SendEmail { order: order.id, template: Template::OrderConfirmation, domain: None })
        .await
        .expect("mails");
    let mail = shop.mail_folder().join(format!("{}.order_confirmation.eml", order.id));
    let mail = std::fs::read_to_string(mail).expect("a mail").replace("=\r\n", "");
    assert!(mail.contains("nothing to pay") && !mail.contains("payment has arrived"), "{mail}");
}

#[tokio::test]
async fn a_free_order_cancelled_at_any_step_ends_without_a_refund() {
    let shop = TestMerchant::open().await;
    for step in [None, Some(Step::Decide)] {
        let order = free(&shop).await;
        let job = ChargePayment { order: order.id };
        if let Some(step) = step {
            let crash = CrashAt::new(step);
            let payments = CrashingPayments { inner: Arc::clone(&shop.payments), crash: crash.clone() };
            crash
                .run(&job, &context(shop.env_with(Arc::new(payments), Arc::new(shop.provider.clone()))))
                .await;
        }
        let cancelled = shop.orders.cancel(shop.merchant, order.id, "customer_request", shop.ambient.now());
        cancelled.await.expect("cancels");
        for _ in 0..2 {
            shop.run(&job).await.expect("ends");
        }
        assert_eq!(shop.status(order.id).await, OrderStatus::Cancelled);
        assert_eq!((shop.commands().await.len(), shop.ledger(order.id).await.len()), (0, 0), "{step:?}");
    }
}
