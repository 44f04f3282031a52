//! Memory of incremental audits.

use std::time::Duration;

use workers::verify::{Code, Scope};

use super::deployment::{AuditDeployment, codes};

/// Ends the overlap of two minutes for commits in progress, which would hide the subject of a test.
async fn forget_the_overlap(town: &AuditDeployment) {
    let forget = "UPDATE audit_mark SET mark = json_set(mark, '$.until', '2099-01-01T00:00:00Z')";
    town.plant("orders.db", forget).await;
}

#[tokio::test]
async fn the_first_audit_looks_at_all_and_later_ones_at_what_changed() {
    let town = AuditDeployment::open().await;
    let (first, _) = (town.served().await, town.served().await);
    let (summary, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.orders, summary.payments, violations.len()), (2, 2, 0));
    town.plant("orders.db", &format!("DELETE FROM mails WHERE order_id = '{}'", first.id)).await;
    forget_the_overlap(&town).await;
    let (summary, _) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.orders, summary.payments), (0, 0));
    let (summary, violations) = town.audit(Scope::Full, false).await;
    assert_eq!((summary.orders, codes(&violations)), (2, vec![Code::MailMissing]));
    forget_the_overlap(&town).await;
    let (summary, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.orders, codes(&violations)), (1, vec![Code::MailMissing]), "until it is repaired");
    town.audit(Scope::Changed, true).await;
    town.work().await;
    let (_, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!(codes(&violations), []);
    let mark = town.shop.orders.audit_mark().await.expect("reads").expect("is there");
    assert_eq!(mark.again, [], "nothing is left to look at again");
    assert!(mark.ledger.is_some());
}

#[tokio::test]
async fn an_open_order_is_looked_at_until_it_ends() {
    let town = AuditDeployment::open().await;
    let order = town.shop.place("pm_card_visa").await;
    town.shop.drain_outbox().await;
    town.audit(Scope::Full, true).await;
    let (summary, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.open, violations.len()), (1, 0));
    let mark = town.shop.orders.audit_mark().await.expect("reads").expect("is there");
    assert_eq!(mark.again, [order.id]);
    town.work().await;
    town.audit(Scope::Changed, false).await;
    let mark = town.shop.orders.audit_mark().await.expect("reads").expect("is there");
    assert_eq!(mark.again, []);
}

#[tokio::test]
async fn a_charge_that_changed_nothing_here_is_found_by_the_next_audit() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    town.audit(Scope::Changed, false).await;
    town.charge("by-hand", Some(order.id)).await;
    forget_the_overlap(&town).await;
    let (_, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!(codes(&violations), [Code::LedgerCaptureUnexpected]);
}

#[tokio::test]
async fn a_span_looks_at_what_changed_within_it_and_remembers_nothing() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.plant("orders.db", "DELETE FROM mails").await;
    let (summary, violations) = town.audit(Scope::Since(Duration::from_mins(5)), false).await;
    assert_eq!((summary.orders, codes(&violations)), (1, vec![Code::MailMissing]));
    assert_eq!(town.shop.orders.audit_mark().await.expect("reads"), None);
}

/// More entries than a page of orders, of the ledger, and of messages holds.
#[tokio::test]
async fn pages_are_scanned_to_their_end() {
    let town = AuditDeployment::open().await;
    let mut orders = Vec::new();
    for _ in 0..300 {
        orders.push(town.shop.place("pm_card_visa").await.id);
    }
    town.work().await;
    town.plant("orders.db", &format!("DELETE FROM mails WHERE order_id = '{}'", orders[299])).await;
    let (summary, violations) = town.audit(Scope::Full, false).await;
    assert_eq!((summary.orders, summary.payments, summary.ledger), (300, 300, Some(300)));
    assert_eq!(codes(&violations), [Code::MailMissing]);
    let (summary, violations) = town.audit(Scope::Since(Duration::from_mins(30)), false).await;
    assert_eq!((summary.orders, codes(&violations)), (300, vec![Code::MailMissing]));
}
