//! Tests of transitions that depend on this engine's guards, and of damaged rows.

use store::{
    domain::{EventKind, OrderStatus, PaymentId, RefundId},
    error::StoreError,
    orders::{Orders, RefundFacts, RefundRequested, Transition},
    outbox::{Command, Outbox, OutboxBody},
};

use super::{TestMerchant, capture, kinds};

#[tokio::test]
async fn money_captured_for_a_cancelled_order_goes_back_once() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    let order = shop.place("k", &[("a", 2)]).await;
    let now = shop.ambient.now();
    shop.store.cancel(shop.merchant, order.id, "requested", now).await.expect("answers");
    shop.drain().await;
    for _ in 0..2 {
        let moved = shop.store.mark_paid(order.id, capture(&order), now).await.expect("answers");
        assert!(matches!(moved, Transition::Refused(o) if o.status == OrderStatus::Cancelled));
    }
    let told = shop.claim("r", 100).await;
    assert_eq!(kinds(&told), [Some((EventKind::PaymentCaptured, 3)), None]);
    let OutboxBody::Command { command: Command::Refund { refund, amount_minor, .. }, .. } =
        told[1].body.clone()
    else {
        panic!("no refund command: {told:?}")
    };
    assert_eq!(amount_minor, 500);
    let facts = RefundFacts { payment: PaymentId::of_order(order.id), refund, amount_minor, failure: None };
    let recorded = shop.store.record_refund(order.id, facts, now).await.expect("answers");
    assert!(
        matches!(recorded, Transition::Now(o) if o.status == OrderStatus::Cancelled && o.refunded_minor == 500)
    );
    assert_eq!(shop.stock("a").await.reserved, 0);
}

#[tokio::test]
async fn a_paid_order_fully_refunded_in_parts_releases_its_stock() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    let order = shop.paid("k", &[("a", 2)]).await;
    let now = shop.ambient.now();
    let refund = |label| RefundId::derived(order.id.0, label);
    let request =
        |label, amount| shop.store.request_refund(shop.merchant, order.id, refund(label), amount, now);
    assert!(matches!(request("1", Some(200)).await, Ok(RefundRequested::Accepted(..))));
    assert!(matches!(request("1", Some(200)).await, Ok(RefundRequested::Already(..))));
    let too_much = request("2", Some(301)).await.expect("answers");
    assert_eq!(too_much, RefundRequested::TooMuch { refundable_minor: 300 });
    assert!(matches!(request("2", None).await, Ok(RefundRequested::Accepted(..))));
    shop.drain().await;
    let facts = |label, amount_minor| RefundFacts {
        payment: PaymentId::of_order(order.id),
        refund: refund(label),
        amount_minor,
        failure: None,
    };
    for (label, amount) in [("1", 200), ("1", 200), ("2", 300), ("3", 1)] {
        shop.store.record_refund(order.id, facts(label, amount), now).await.expect("answers");
    }
    let after = shop.store.order_by_id(order.id).await.expect("reads").expect("is there");
    assert_eq!((after.status, after.refunded_minor, after.event_sequence), (OrderStatus::Refunded, 500, 6));
    let told = shop.claim("r", 100).await;
    let refunded = |sequence| Some((EventKind::PaymentRefunded, sequence));
    assert_eq!(kinds(&told), [refunded(4), refunded(5), Some((EventKind::OrderRefunded, 6))]);
    let stock = shop.stock("a").await;
    assert_eq!((stock.on_hand, stock.reserved), (5, 0));
}

#[tokio::test]
async fn cancelling_asks_only_for_what_is_not_on_its_way_back() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    let order = shop.paid("k", &[("a", 2)]).await;
    let (now, refund) = (shop.ambient.now(), RefundId::derived(order.id.0, "1"));
    shop.store.request_refund(shop.merchant, order.id, refund, Some(200), now).await.expect("answers");
    shop.drain().await;
    shop.store.cancel(shop.merchant, order.id, "requested", now).await.expect("answers");
    let told = shop.claim("r", 100).await;
    assert_eq!(kinds(&told), [Some((EventKind::OrderCancelled, 4)), None]);
    assert!(matches!(
        told[1].body,
        OutboxBody::Command { command: Command::Refund { amount_minor: 300, .. }, .. }
    ));
}

#[tokio::test]
async fn shipping_takes_units_out_and_events_have_no_gaps() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    shop.product("b", 5, 0).await;
    let order = shop.paid("k", &[("a", 2), ("b", 1)]).await;
    let now = shop.ambient.now();
    assert!(matches!(shop.store.fulfil(order.id, now).await, Ok(Transition::Now(_))));
    assert!(matches!(shop.store.fulfil(order.id, now).await, Ok(Transition::Already(_))));
    let events = shop.store.order_events(order.id, 0).await.expect("reads");
    assert_eq!(events.iter().map(|e| e.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let payment = serde_json::json!({
        "object": "payment", "id": PaymentId::of_order(order.id), "order_id": order.id, "status": "captured",
        "amount_minor": 750, "currency": "EUR",
    });
    assert_eq!(events[1].data, payment);
    assert_eq!(events[3].data["status"], "fulfilled");
    assert!(events.iter().all(|event| !event.data.to_string().contains(&order.payment_method)));
    let stock = shop.stock("a").await;
    assert_eq!((stock.on_hand, stock.reserved), (3, 0));
    assert_eq!(shop.stock("b").await.on_hand, 4);
}

#[tokio::test]
async fn damaged_rows_are_named_and_do_not_panic() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    let order = shop.place("k", &[("a", 1)]).await;
    for damage in ["currency = 'eur'", "lines = '[{}]'", "created_at = 9223372036854775807", "trace = 'x'"] {
        let sql = sqlx::AssertSqlSafe(format!("UPDATE orders SET {damage}"));
        sqlx::query(sql).execute(shop.store.database.readers()).await.expect("damages");
        match shop.store.order(shop.merchant, order.id).await {
            Err(StoreError::Corrupt { detail, .. }) => assert!(detail.contains(&order.id.to_string())),
            other => panic!("read in spite of {damage}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn reserved_units_that_are_missing_stop_the_move() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    let order = shop.place("k", &[("a", 2)]).await;
    sqlx::query("UPDATE products SET reserved = 1")
        .execute(shop.store.database.readers())
        .await
        .expect("damages");
    let moved = shop.store.cancel(shop.merchant, order.id, "requested", shop.ambient.now()).await;
    assert!(matches!(moved, Err(StoreError::Defect { .. })), "{moved:?}");
    let after = shop.store.order_by_id(order.id).await.expect("reads").expect("is there");
    assert_eq!(after.status, OrderStatus::Pending);
}
