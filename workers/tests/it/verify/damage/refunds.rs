//! Damage to refunds.

use store::{
    domain::{Decision, EventKind},
    outbox::Command,
};
use workers::{jobs::RefundPayment, provider::refund_by_hand, verify::Settled};

use super::*;

#[tokio::test]
async fn a_refund_whose_job_is_lost_is_done() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    town.shop.ask_refund(order.id, Some(700)).await;
    town.shop.drain_outbox().await;
    assert_eq!(town.codes().await, [Code::RefundStuck]);
    town.repairs().await;
    assert_eq!(town.shop.ledger(order.id).await[1].amount_minor, 700);
}

#[tokio::test]
async fn a_refund_that_was_done_and_not_recorded_is_recorded() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    town.shop.ask_refund(order.id, Some(700)).await;
    town.work().await;
    town.plant("orders.db", "UPDATE refunds SET recorded_at = NULL").await;
    let counted = format!("UPDATE orders SET refunded_minor = 0 WHERE id = '{}'", order.id);
    town.plant("orders.db", &counted).await;
    assert_eq!(town.codes().await, [Code::RefundStuck]);
    town.repairs().await;
    assert_eq!(town.shop.ledger(order.id).await.len(), 2, "given back once");
}

#[tokio::test]
async fn sums_of_refunds_that_differ_are_found() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    town.shop.ask_refund(order.id, Some(700)).await;
    town.work().await;
    town.plant("orders.db", &format!("UPDATE orders SET refunded_minor = 1 WHERE id = '{}'", order.id)).await;
    assert_eq!(town.codes().await, [Code::RefundSumDiffers]);
    town.leaves_to_people().await;
    town.plant(
        "orders.db",
        &format!("UPDATE refunds SET amount_minor = {} WHERE order_id = '{}'", i64::MAX, order.id),
    )
    .await;
    assert_eq!(town.codes().await, [Code::RefundSumDiffers], "and no sum overflows");
}

#[tokio::test]
async fn refunds_that_only_one_side_knows_are_found() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    town.shop.ask_refund(order.id, Some(700)).await;
    town.work().await;
    town.plant("sandbox.db", "DELETE FROM ledger WHERE type = 'refund'").await;
    assert_eq!(town.codes().await, [Code::LedgerRefundMissing]);
    let charge = town.shop.ledger(order.id).await[0].id.clone();
    let body = serde_json::json!({
        "charge": charge, "amount_minor": 5, "metadata": { "order_id": order.id },
    });
    assert_eq!(town.shop.sandbox_post("/v1/refunds", "by-hand", body).await.0, 200);
    assert_eq!(town.codes().await, [Code::LedgerRefundMissing, Code::LedgerRefundUnexpected]);
    town.leaves_to_people().await;
}

#[tokio::test]
async fn money_of_a_cancelled_order_that_was_never_asked_back_goes_back() {
    let town = AuditDeployment::open().await;
    let (shop, order) = (&town.shop, town.shop.place("pm_card_visa").await);
    shop.run(&ChargePayment { order: order.id }).await.expect("charges");
    shop.orders.cancel(shop.merchant, order.id, "changed_mind", shop.ambient.now()).await.expect("moves");
    town.plant("orders.db", "DELETE FROM outbox WHERE kind = 'command'").await;
    town.plant("orders.db", "DELETE FROM refunds").await;
    town.work().await;
    assert_eq!(town.codes().await, [Code::MoneyKept]);
    town.repairs().await;
    assert_eq!(shop.ledger(order.id).await.len(), 2, "charged and given back");
}

/// Refunds at the provider without the shop; returns the refund.
async fn refund_in_dashboard(town: &AuditDeployment, order: OrderId, amount_minor: i64) -> String {
    let charge = town.shop.ledger(order).await[0].id.clone();
    let body = serde_json::json!({
        "charge": charge, "amount_minor": amount_minor, "metadata": { "order_id": order },
    });
    let (status, body) = town.shop.sandbox_post("/v1/refunds", "by-hand", body).await;
    assert_eq!(status, 200, "{body}");
    let refund: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    refund["id"].as_str().expect("an id").to_owned()
}

async fn refunded_minor(town: &AuditDeployment, order: OrderId) -> i64 {
    town.shop.orders.order_by_id(order).await.expect("reads").expect("is there").refunded_minor
}

#[tokio::test]
async fn a_refund_made_by_hand_whose_report_was_interrupted_is_recorded_and_not_made_again() {
    let town = AuditDeployment::open().await;
    let order = town.served().await.id;
    let refund = refund_in_dashboard(&town, order, 400).await;
    let payment = PaymentId::of_order(order);
    let (id, at) = (refund_by_hand(payment, &refund), town.shop.ambient.now());
    town.shop.payments.begin_refund(payment, id, 400, at).await.expect("begins");
    assert_eq!(town.codes().await, [Code::RefundStuck]);
    town.repairs().await;
    assert_eq!(town.shop.ledger(order).await.len(), 2, "charged, and refunded by hand");
    assert_eq!(refunded_minor(&town, order).await, 400);
}

#[tokio::test]
async fn a_refund_made_by_hand_that_was_never_reported_is_recorded() {
    let town = AuditDeployment::open().await;
    let order = town.served().await.id;
    refund_in_dashboard(&town, order, 400).await;
    assert_eq!(town.codes().await, [Code::LedgerRefundUnexpected]);
    town.repairs().await;
    assert_eq!(town.shop.ledger(order).await.len(), 2, "charged, and refunded by hand");
    assert_eq!(refunded_minor(&town, order).await, 400);
    let payment = town.shop.payments.payment(PaymentId::of_order(order)).await.expect("reads");
    assert!(matches!(payment.expect("is there").decision, Some(Decision::Captured { .. })));
}

#[tokio::test]
async fn a_refusal_that_the_order_does_not_know_is_recorded() {
    let town = AuditDeployment::open().await;
    let order = town.served().await.id;
    let refund = town.shop.refund_job(order, Some(700)).await;
    let (payment, at) = (PaymentId::of_order(order), town.shop.ambient.now());
    town.shop.payments.begin_refund(payment, refund.refund, 700, at).await.expect("begins");
    town.shop.payments.end_refund(payment, refund.refund, false, "charge_disputed", at).await.expect("ends");
    assert_eq!(town.codes().await, [Code::RefundStuck]);
    town.repairs().await;
    assert_eq!(town.shop.event_kinds(order).await.last(), Some(&EventKind::RefundFailed));
    assert_eq!(town.shop.ledger(order).await.len(), 1, "charged");
}

#[tokio::test]
async fn what_a_person_settled_is_reported_again_once_it_reads_differently() {
    let town = AuditDeployment::open().await;
    let order = town.served().await.id;
    let says = |minor: i64| format!("UPDATE orders SET refunded_minor = {minor} WHERE id = '{order}'");
    town.plant("orders.db", &says(1)).await;
    assert_eq!(town.codes().await, [Code::RefundSumDiffers]);
    let settled = town.settle(order).await;
    assert!(matches!(&settled, Settled::Now(one) if one.len() == 1 && !one[0].repaired), "{settled:?}");
    assert_eq!(town.codes().await, []);
    assert!(matches!(town.settle(order).await, Settled::NothingWrong));
    let money = town.shop.orders.order_money(order).await.expect("reads").expect("is there");
    let [kept] = &money.settlements[..] else { panic!("{money:?}") };
    assert_eq!(kept.note, "the bank was asked");
    assert!(kept.violations[0].starts_with("refund_sum_differs, order ord_"), "{kept:?}");
    town.plant("orders.db", &says(2)).await;
    assert_eq!(town.codes().await, [Code::RefundSumDiffers], "another one");
    assert!(matches!(town.settle(OrderId::fresh(&town.shop.ambient)).await, Settled::NotStored));
}

#[tokio::test]
async fn a_settled_violation_whose_job_is_dead_is_not_reported_again() {
    let town = AuditDeployment::open().await;
    let order = town.served().await.id;
    town.shop.ask_refund(order, Some(700)).await;
    town.shop.drain_outbox().await;
    town.audit(Scope::Full, true).await;
    let kill = "UPDATE jobs SET state = 'dead', dead_reason = 'crashed', died_at = 1, first_failed_at = 1";
    town.plant("queue.db", kill).await;
    assert_eq!(town.codes().await, [Code::RefundStuck]);
    assert!(matches!(town.settle(order).await, Settled::Now(_)));
    assert_eq!(town.codes().await, []);
}

#[tokio::test]
async fn money_that_the_provider_keeps_refusing_to_refund_is_settled_by_a_person() {
    let town = AuditDeployment::open().await;
    let shop = &town.shop;
    let order = shop.place("pm_card_visa").await.id;
    shop.run(&ChargePayment { order }).await.expect("charges");
    shop.orders.cancel(shop.merchant, order, "changed_mind", shop.ambient.now()).await.expect("cancels");
    let [Command::Refund { refund, .. }] = shop.commands().await[..] else { panic!("no refund") };
    let (payment, at) = (PaymentId::of_order(order), shop.ambient.now());
    shop.payments.begin_refund(payment, refund, 2500, at).await.expect("begins");
    shop.payments.end_refund(payment, refund, false, "charge_disputed", at).await.expect("ends");
    let failed = RefundPayment { order, refund, amount_minor: 2500 };
    shop.run(&failed).await.expect_err("was refused");
    town.work().await;
    assert!(town.codes().await.contains(&Code::MoneyKept));
    assert!(matches!(town.settle(order).await, Settled::Now(_)));
    assert_eq!(town.codes().await, []);
}
