//! Cases of charges whose order ended meanwhile.

use super::*;

/// The job of `order.placed` is lost: the event of the cancellation has the charge looked up.
#[tokio::test]
async fn an_order_that_expired_between_charge_and_record_gets_its_money_back() {
    let shop = TestMerchant::open().await;
    for step in [Step::Capture, Step::Decide] {
        let order = shop.place("pm_card_visa").await;
        let crash = CrashAt::new(step);
        let payments = CrashingPayments { inner: Arc::clone(&shop.payments), crash: crash.clone() };
        let provider = CrashingProvider { inner: Arc::new(shop.provider.clone()), crash: crash.clone() };
        let env = shop.env_with(Arc::new(payments), Arc::new(provider));
        crash.run(&ChargePayment { order: order.id }, &context(env)).await;
        shop.drain_outbox().await;
        assert!(shop.orders.expire_order(order.id, None, shop.ambient.now()).await.expect("expires"));

        let told = shop.drain_outbox().await;
        let jobs =
            told.iter().flat_map(|message| expand(&message.body, &[], &shop.ambient).expect("expands"));
        let look =
            jobs.into_iter().find(|job| job.kind == ChargePayment::KIND).expect("a look for the charge");
        let look: ChargePayment = serde_json::from_str(look.payload.get()).expect("decodes");
        for _ in 0..2 {
            shop.run(&look).await.expect("finds the charge");
        }
        let commands = shop.commands().await;
        let [Command::Refund { refund, amount_minor, .. }] = commands[..] else { panic!("{commands:?}") };
        shop.run(&RefundPayment { order: order.id, refund, amount_minor }).await.expect("refunds");
        let ledger = shop.ledger(order.id).await;
        let amounts: Vec<_> = ledger.iter().map(|entry| (entry.r#type, entry.amount_minor)).collect();
        assert_eq!(amounts, [(EntryKind::Charge, 2500), (EntryKind::Refund, 2500)], "{step:?}");
        let ended = shop.orders.order_by_id(order.id).await.expect("reads").expect("an order");
        assert_eq!((ended.status, ended.status_reason.as_deref()), (OrderStatus::Cancelled, Some("expired")));
    }
}

#[tokio::test]
async fn an_order_cancelled_between_charge_and_record_gets_its_money_back() {
    let shop = TestMerchant::open().await;
    for step in [Step::Capture, Step::Decide] {
        let order = shop.place("pm_card_visa").await;
        let job = ChargePayment { order: order.id };
        let crash = CrashAt::new(step);
        let payments = CrashingPayments { inner: Arc::clone(&shop.payments), crash: crash.clone() };
        let provider = CrashingProvider { inner: Arc::new(shop.provider.clone()), crash: crash.clone() };
        crash.run(&job, &context(shop.env_with(Arc::new(payments), Arc::new(provider)))).await;
        shop.orders
            .cancel(shop.merchant, order.id, "customer_request", shop.ambient.now())
            .await
            .expect("cancels");

        for _ in 0..2 {
            shop.run(&job).await.expect("finds the charge");
        }
        let commands = shop.commands().await;
        let [Command::Refund { refund, amount_minor, .. }] = commands[..] else { panic!("{commands:?}") };
        shop.run(&RefundPayment { order: order.id, refund, amount_minor }).await.expect("refunds");
        let ledger = shop.ledger(order.id).await;
        let amounts: Vec<_> = ledger.iter().map(|entry| (entry.r#type, entry.amount_minor)).collect();
        assert_eq!(amounts, [(EntryKind::Charge, 2500), (EntryKind::Refund, 2500)]);
        assert_eq!(shop.status(order.id).await, OrderStatus::Cancelled);
    }
}

#[tokio::test]
async fn a_cancelled_order_is_not_charged_and_watched_until_no_call_can_be_under_way() {
    let (ambient, clock) = Ambient::steered(11, "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time"));
    let shop = TestMerchant::open_with(ambient).await;
    let order = shop.place("pm_card_visa").await;
    let job = ChargePayment { order: order.id };
    let crash = CrashAt::new(Step::Begin);
    let payments = CrashingPayments { inner: Arc::clone(&shop.payments), crash: crash.clone() };
    crash.run(&job, &context(shop.env_with(Arc::new(payments), Arc::new(shop.provider.clone())))).await;
    shop.orders
        .cancel(shop.merchant, order.id, "customer_request", shop.ambient.now())
        .await
        .expect("cancels");

    let error = shop.run(&job).await.expect_err("waits");
    let JobError::Snooze(wait) = error else { panic!("{error:?}") };
    clock.advance(wait);
    shop.run(&job).await.expect("nothing more to wait for");
    assert!(shop.ledger(order.id).await.is_empty());

    let untouched = shop.place("pm_card_visa").await;
    shop.orders
        .cancel(shop.merchant, untouched.id, "customer_request", shop.ambient.now())
        .await
        .expect("cancels");
    let job = ChargePayment { order: untouched.id };
    let error = shop.run(&job).await.expect_err("waits");
    let JobError::Snooze(wait) = error else { panic!("{error:?}") };
    clock.advance(wait);
    shop.run(&job).await.expect("nothing to do");
    assert!(shop.payments.payment(PaymentId::of_order(untouched.id)).await.expect("reads").is_none());
}

#[tokio::test]
async fn a_charge_by_a_run_that_had_not_seen_the_cancellation_is_found() {
    let (ambient, clock) = Ambient::steered(12, "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time"));
    let shop = TestMerchant::open_with(ambient).await;
    let order = shop.place("pm_card_visa").await;
    let job = ChargePayment { order: order.id };
    shop.orders
        .cancel(shop.merchant, order.id, "customer_request", shop.ambient.now())
        .await
        .expect("cancels");
    let error = shop.run(&job).await.expect_err("waits");
    let JobError::Snooze(wait) = error else { panic!("{error:?}") };
    // A run that read the order before, lost its lease, and crashes after charging: it is not repeated.
    charged_by_a_zombie(&shop, &order).await;

    clock.advance(wait);
    shop.run(&job).await.expect("finds the charge");
    let commands = shop.commands().await;
    assert!(matches!(commands[..], [Command::Refund { amount_minor: 2500, .. }]), "{commands:?}");
}

async fn charged_by_a_zombie(shop: &TestMerchant, order: &Order) {
    let (id, at) = (PaymentId::of_order(order.id), shop.ambient.now());
    let payment = NewPayment {
        id,
        order: order.id,
        merchant: order.merchant,
        amount_minor: order.total_minor,
        currency: order.currency,
        method: order.payment_method.clone(),
        provider: shop.provider.name().to_owned(),
        at,
    };
    shop.payments.open_payment(payment).await.expect("opens");
    let begun = shop.payments.begin_attempt(id, "zombie", at).await.expect("begins");
    assert_eq!(begun, Begun::Attempt { epoch: 1 });
    let request = CaptureRequest {
        payment: id,
        attempt: 1,
        charge: None,
        idempotency_key: capture_key(id),
        amount_minor: order.total_minor,
        currency: order.currency,
        method: order.payment_method.clone(),
        order: order.id,
    };
    shop.provider.capture(&request).await.expect("charges");
}
