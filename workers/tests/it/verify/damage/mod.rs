//! Damage of each kind, planted by SQL without the stores, one kind a test.

mod refunds;
mod unreadable;

use store::domain::{OrderId, OrderStatus, PaymentId};
use workers::{
    jobs::ChargePayment,
    verify::{Code, Scope},
};

use super::deployment::{AuditDeployment, codes};
use crate::util::Receiver;

#[tokio::test]
async fn a_shop_in_order_has_nothing_wrong() {
    let town = AuditDeployment::open().await;
    let receiver = Receiver::start().await;
    town.shop.endpoint(&receiver.url).await;
    town.served().await;
    for method in ["pm_card_chargeDeclined", "pm_sandbox_flaky"] {
        town.shop.place(method).await;
        town.work().await;
    }
    let paid = town.shop.place("pm_card_visa").await;
    town.shop.run(&ChargePayment { order: paid.id }).await.expect("charges");
    town.shop
        .orders
        .cancel(town.shop.merchant, paid.id, "changed_mind", town.shop.ambient.now())
        .await
        .expect("moves");
    let refunded = town.served().await;
    town.shop.ask_refund(refunded.id, Some(100)).await;
    town.work().await;
    town.shop.ask_refund(refunded.id, None).await;
    town.work().await;
    assert_eq!(town.shop.status(refunded.id).await, OrderStatus::Refunded);
    let (summary, violations) = town.audit(Scope::Full, false).await;
    // A flaky charge fails twice and is not repeated by hand.
    assert_eq!(codes(&violations), [Code::PendingStuck], "{violations:#?}");
    assert_eq!((summary.orders, summary.payments, summary.products), (5, 5, 1));
    assert_eq!(summary.ledger, Some(6), "three charges, one refund of the cancelled, two of the refunded");
    town.repairs_twice().await;
}

impl AuditDeployment {
    /// A flaky provider must be called three times in all.
    async fn repairs_twice(&self) {
        self.audit(Scope::Full, true).await;
        self.work().await;
        self.repairs().await;
    }
}

#[tokio::test]
async fn an_order_without_its_charge_is_charged() {
    let town = AuditDeployment::open().await;
    let order = town.shop.place("pm_card_visa").await;
    town.shop.drain_outbox().await;
    assert_eq!(town.codes().await, [Code::PendingStuck]);
    let (summary, violations) = town.audit(Scope::Full, true).await;
    assert_eq!((summary.repaired, violations[0].order()), (1, Some(order.id)));
    let (summary, violations) = town.audit(Scope::Full, false).await;
    assert_eq!((summary.open, violations.len()), (1, 0), "its job is held, so it is under way");
    town.repairs().await;
    assert_eq!(town.shop.status(order.id).await, OrderStatus::Fulfilled);
}

#[tokio::test]
async fn an_order_whose_charge_is_dead_is_tried_again_if_it_was_exhausted() {
    let town = AuditDeployment::open().await;
    town.shop.place("pm_card_visa").await;
    town.shop.drain_outbox().await;
    town.audit(Scope::Full, true).await;
    let kill = |reason: &str| {
        format!("UPDATE jobs SET state = 'dead', dead_reason = '{reason}', died_at = 1, first_failed_at = 1")
    };
    town.plant("queue.db", &kill("crashed")).await;
    assert_eq!(town.codes().await, [Code::PendingStuck]);
    let (summary, _) = town.audit(Scope::Full, true).await;
    assert_eq!(summary.repaired, 0, "what killed it would do so again");
    town.plant("queue.db", &kill("exhausted")).await;
    town.repairs().await;
}

#[tokio::test]
async fn a_paid_order_without_its_shipment_is_shipped() {
    let town = AuditDeployment::open().await;
    let order = town.shop.place("pm_card_visa").await;
    town.shop.run(&ChargePayment { order: order.id }).await.expect("charges");
    town.shop.drain_outbox().await;
    assert_eq!(town.codes().await, [Code::PaidStuck, Code::MailMissing]);
    town.repairs().await;
    assert_eq!(town.shop.status(order.id).await, OrderStatus::Fulfilled);
}

#[tokio::test]
async fn an_order_that_does_not_read_back_is_told_and_the_rest_is_looked_at() {
    let town = AuditDeployment::open().await;
    let (broken, other) = (town.served().await, town.shop.place("pm_card_visa").await);
    town.shop.drain_outbox().await;
    town.plant("orders.db", &format!("UPDATE orders SET lines = 'nonsense' WHERE id = '{}'", broken.id))
        .await;
    assert_eq!(town.codes().await, [Code::PendingStuck, Code::Unreadable]);
    town.leaves_to_people().await;
    assert_eq!(town.shop.status(other.id).await, OrderStatus::Fulfilled);
}

#[tokio::test]
async fn a_paid_order_whose_payment_is_not_captured_is_found() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    let sql = format!("DELETE FROM payment_decisions WHERE payment_id = '{}'", PaymentId::of_order(order.id));
    town.plant("payments.db", &sql).await;
    assert_eq!(town.codes().await, [Code::CaptureMissing, Code::LedgerCaptureUnexpected]);
    town.leaves_to_people().await;
}

const UNPAID: &str = "payment_id = NULL, provider_reference = NULL, captured_minor = NULL";

#[tokio::test]
async fn a_capture_that_a_cancelled_order_knows_nothing_of_goes_back() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    let sql = format!("UPDATE orders SET status = 'cancelled', {UNPAID} WHERE id = '{}'", order.id);
    town.plant("orders.db", &sql).await;
    assert_eq!(town.codes().await, [Code::CaptureUnexpected]);
    town.repairs().await;
    assert_eq!(town.shop.ledger(order.id).await.len(), 2, "charged and given back");
}

#[tokio::test]
async fn a_capture_told_as_failed_is_found() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    let sql = format!("UPDATE orders SET status = 'payment_failed', {UNPAID} WHERE id = '{}'", order.id);
    town.plant("orders.db", &sql).await;
    assert_eq!(town.codes().await, [Code::CaptureUnexpected]);
    town.audit(Scope::Full, true).await;
    town.work().await;
    assert_eq!(town.shop.ledger(order.id).await.len(), 2, "charged and given back");
}

#[tokio::test]
async fn amounts_that_differ_are_found() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.plant("payments.db", "UPDATE payments SET amount_minor = 1").await;
    assert_eq!(
        town.codes().await,
        [Code::AmountDiffers, Code::AmountDiffers],
        "from the order, from the ledger"
    );
    town.leaves_to_people().await;
}

#[tokio::test]
async fn a_payment_without_an_order_is_found() {
    let town = AuditDeployment::open().await;
    town.served().await;
    let order = OrderId::fresh(&town.shop.ambient);
    let sql = format!(
        "INSERT INTO payments SELECT '{}', '{order}', merchant_id, 5, currency, method, provider, created_at FROM payments",
        PaymentId::of_order(order)
    );
    town.plant("payments.db", &sql).await;
    let (_, violations) = town.audit(Scope::Full, false).await;
    assert_eq!((violations.len(), violations[0].code), (1, Code::PaymentOrphan));
    assert_eq!(violations[0].order(), Some(order));
    town.leaves_to_people().await;
}

#[tokio::test]
async fn a_capture_that_the_ledger_does_not_have_is_found() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.plant("sandbox.db", "DELETE FROM ledger").await;
    assert_eq!(town.codes().await, [Code::LedgerCaptureMissing]);
    town.leaves_to_people().await;
}

#[tokio::test]
async fn a_second_charge_is_found() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    let second = town.charge("by-hand", Some(order.id)).await;
    let (_, violations) = town.audit(Scope::Full, false).await;
    assert_eq!((violations.len(), violations[0].code), (1, Code::LedgerCaptureUnexpected));
    assert!(violations[0].ids.contains(&("charge", second)), "{violations:?}");
    town.leaves_to_people().await;
    assert_eq!(town.shop.ledger(order.id).await.len(), 2, "no money moves on one side's word");
}

#[tokio::test]
async fn an_unrecorded_charge_of_a_cancelled_order_goes_back() {
    let town = AuditDeployment::open().await;
    let (shop, order) = (&town.shop, town.shop.place("pm_card_visa").await);
    shop.run(&ChargePayment { order: order.id }).await.expect("charges");
    shop.drain_outbox().await;
    // As if the run had crashed right after the provider's answer, and its job were lost.
    let payment = PaymentId::of_order(order.id);
    town.plant("payments.db", &format!("DELETE FROM payment_decisions WHERE payment_id = '{payment}'")).await;
    town.plant("orders.db", &format!("UPDATE orders SET status = 'pending', event_sequence = 1, {UNPAID}"))
        .await;
    town.plant("orders.db", "DELETE FROM outbox WHERE sequence > 1 AND order_id IS NOT NULL").await;
    shop.orders.cancel(shop.merchant, order.id, "changed_mind", shop.ambient.now()).await.expect("moves");
    shop.drain_outbox().await;
    assert_eq!(town.codes().await, [Code::LedgerCaptureUnexpected, Code::MailMissing]);
    town.repairs().await;
    assert_eq!(shop.ledger(order.id).await.len(), 2, "charged and given back");
}

#[tokio::test]
async fn entries_of_the_ledger_for_no_order_are_found() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.charge("for-no-order", None).await;
    town.charge("for-another", Some(OrderId::fresh(&town.shop.ambient))).await;
    assert_eq!(town.codes().await, [Code::LedgerOrphan, Code::LedgerOrphan]);
    town.leaves_to_people().await;
}

#[tokio::test]
async fn a_reservation_that_no_order_holds_is_released() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.shop.place("pm_card_visa").await;
    town.plant("orders.db", "UPDATE products SET reserved = reserved + 3").await;
    assert_eq!(town.codes().await, [Code::ReservationDiffers, Code::OutboxStalled]);
    let (summary, _) = town.audit(Scope::Full, true).await;
    assert_eq!(summary.repaired, 1);
    let mug = town.shop.orders.product(town.shop.merchant, "mug").await.expect("reads").expect("is there");
    assert_eq!((mug.on_hand, mug.reserved), (998, 2));
    town.work().await;
    assert_eq!(town.codes().await, []);
}

#[tokio::test]
async fn stock_below_nothing_is_found() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.plant("orders.db", "UPDATE products SET on_hand = -1").await;
    assert_eq!(town.codes().await, [Code::StockNegative]);
    town.leaves_to_people().await;
}

#[tokio::test]
async fn a_mail_that_is_missing_is_sent() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.plant("orders.db", "DELETE FROM mails").await;
    assert_eq!(town.codes().await, [Code::MailMissing]);
    town.repairs().await;
}

#[tokio::test]
async fn a_mail_that_nothing_led_to_is_found() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.plant(
        "orders.db",
        "INSERT INTO mails SELECT order_id, 'order_refunded', message_id, sent_at FROM mails",
    )
    .await;
    assert_eq!(town.codes().await, [Code::MailUnexpected]);
    town.leaves_to_people().await;
}

#[tokio::test]
async fn a_gap_in_an_orders_events_is_found() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.plant("orders.db", "DELETE FROM outbox WHERE sequence = 2 AND order_id IS NOT NULL").await;
    assert_eq!(town.codes().await, [Code::EventGap]);
    town.leaves_to_people().await;
}

#[tokio::test]
async fn an_event_that_was_never_sent_is_sent() {
    let town = AuditDeployment::open().await;
    let receiver = Receiver::start().await;
    town.shop.endpoint(&receiver.url).await;
    town.served().await;
    assert_eq!(town.codes().await, []);
    town.plant(
        "orders.db",
        "DELETE FROM webhook_attempts WHERE event_id = (SELECT id FROM outbox WHERE kind = 'order.paid')",
    )
    .await;
    assert_eq!(town.codes().await, [Code::WebhookMissing]);
    town.repairs().await;
}

#[tokio::test]
async fn jobs_that_ended_without_their_subject_were_not_given_up() {
    let town = AuditDeployment::open().await;
    let receiver = Receiver::start().await;
    town.shop.endpoint(&receiver.url).await;
    town.served().await;
    let of_paid = "event_id = (SELECT id FROM outbox WHERE kind = 'order.paid')";
    town.plant("orders.db", &format!("DELETE FROM webhook_attempts WHERE {of_paid}")).await;
    town.plant("orders.db", "DELETE FROM mails").await;
    let (_, violations) = town.audit(Scope::Full, false).await;
    assert_eq!(codes(&violations), [Code::MailMissing, Code::WebhookMissing]);
    town.ended(&violations, "undeliverable: status_500").await;
    assert_eq!(town.codes().await, [], "given up, as promised");
    for error in ["event_not_found", "endpoint_not_found", "order_not_found"] {
        town.ended(&violations, error).await;
        assert_eq!(town.codes().await, [Code::MailMissing, Code::WebhookMissing], "{error}");
    }
    town.repairs().await;
}

#[tokio::test]
async fn a_delivery_without_a_next_attempt_is_made() {
    let town = AuditDeployment::open().await;
    let receiver = Receiver::start().await;
    town.shop.endpoint(&receiver.url).await;
    town.served().await;
    let of_paid = "event_id = (SELECT id FROM outbox WHERE kind = 'order.paid')";
    let failed = |attempt: u32, at: &str| {
        format!("UPDATE webhook_attempts SET status = 500, attempt = {attempt}, at = {at} WHERE {of_paid}")
    };
    town.plant("orders.db", &failed(1, "at")).await;
    assert_eq!(town.codes().await, [], "the next attempt is not due yet");
    town.plant("orders.db", &failed(10, "at")).await;
    assert_eq!(town.codes().await, [], "given up, as promised");
    town.plant("orders.db", &failed(1, "at - 60000")).await;
    assert_eq!(town.codes().await, [Code::WebhookStalled]);
    town.repairs().await;
}

#[tokio::test]
async fn a_relay_that_does_not_work_is_told_and_its_orders_are_under_way() {
    let town = AuditDeployment::open().await;
    town.shop.place("pm_card_visa").await;
    let (summary, violations) = town.audit(Scope::Full, true).await;
    assert_eq!(codes(&violations), [Code::OutboxStalled]);
    assert_eq!((summary.open, summary.repaired), (1, 0));
    town.work().await;
    assert_eq!(town.codes().await, []);
}
