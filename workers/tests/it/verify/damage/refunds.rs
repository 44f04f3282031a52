//! Damage to refunds.

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
