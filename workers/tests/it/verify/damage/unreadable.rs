//! Rows that this release cannot read: told, and nothing changed that belongs to them.

use store::{domain::EventId, outbox::Command};
use workers::verify::{Code, Scope};

use super::super::deployment::AuditDeployment;

/// What an order's row may become: lines of another form, no JSON at all, a state of a later release.
const UNREADABLE: [&str; 4] = [
    r#"lines = '{"items":[{"sku":"mug","quantity":2}]}'"#,
    r#"lines = '[["mug", 2], "mug"]'"#,
    "lines = 'nonsense'",
    "status = 'on_hold'",
];

#[tokio::test]
async fn a_reservation_of_an_unreadable_order_is_left_alone_and_the_rest_repaired() {
    for change in UNREADABLE {
        let town = AuditDeployment::open().await;
        let broken = town.shop.place("pm_card_visa").await;
        let charged = town.shop.place("pm_card_visa").await;
        town.shop.drain_outbox().await;
        town.plant("orders.db", &format!("UPDATE orders SET {change} WHERE id = '{}'", broken.id)).await;
        let (summary, violations) = town.audit(Scope::Full, true).await;
        let mug =
            town.shop.orders.product(town.shop.merchant, "mug").await.expect("reads").expect("is there");
        assert_eq!(mug.reserved, 4, "{change}: both orders' units");
        let codes: Vec<_> = violations.iter().map(|violation| (violation.code, violation.repaired)).collect();
        let expected =
            [(Code::Unreadable, false), (Code::PendingStuck, true), (Code::ReservationDiffers, false)];
        assert_eq!(codes, expected, "{change}");
        assert_eq!((violations[0].order(), violations[1].order()), (Some(broken.id), Some(charged.id)));
        assert_eq!(summary.repaired, 1);
        assert!(!violations[2].repair.is_safe(), "{change}: nor is a repair promised");
        let at = town.shop.ambient.now();
        let repaired = town.shop.orders.repair_reservation(town.shop.merchant, "mug", at).await;
        assert!(!repaired.expect("answers"), "{change}: not by itself either");
    }
}

#[tokio::test]
async fn an_unreadable_order_hides_no_other_of_its_page() {
    let town = AuditDeployment::open().await;
    let mut orders = Vec::new();
    for _ in 0..9 {
        orders.push(town.shop.place("pm_card_visa").await.id);
    }
    town.work().await;
    town.plant("orders.db", &format!("UPDATE orders SET status = 'on_hold' WHERE id = '{}'", orders[4]))
        .await;
    for order in [orders[3], orders[8]] {
        town.plant("orders.db", &format!("DELETE FROM mails WHERE order_id = '{order}'")).await;
    }
    let (summary, violations) = town.audit(Scope::Full, false).await;
    let found: Vec<_> = violations.iter().map(|found| (found.code, found.order())).collect();
    let expected = [
        (Code::MailMissing, Some(orders[3])),
        (Code::Unreadable, Some(orders[4])),
        (Code::MailMissing, Some(orders[8])),
    ];
    assert_eq!((summary.orders, &found[..]), (9, &expected[..]));
}

#[tokio::test]
async fn a_message_that_is_set_aside_is_told() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    let id = EventId::derived(order.id.0, "stripe:evt_1");
    let command = Command::ProviderReport { order: order.id, reference: "pi_1".to_owned() };
    town.shop.orders.submit(id, command, town.shop.ambient.now()).await.expect("submits");
    let sql = format!(r#"UPDATE outbox SET data = '{{"command":"release_hold"}}' WHERE id = '{id}'"#);
    town.plant("orders.db", &sql).await;
    town.plant("orders.db", "UPDATE outbox SET relay = 'set aside', leased_until = 0 WHERE sent_at IS NULL")
        .await;
    let (_, violations) = town.audit(Scope::Full, false).await;
    let codes: Vec<_> = violations.iter().map(|violation| violation.code).collect();
    assert_eq!(codes, [Code::MessageSetAside, Code::OutboxStalled], "the order itself is in order");
    assert_eq!(violations[0].order(), Some(order.id));
    assert!(violations[0].found.contains("release_hold"), "{violations:?}");
    assert!(violations.iter().all(|violation| !violation.repair.is_safe()));
}
