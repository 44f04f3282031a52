//! Orders with the total 0: no ledger has a charge for them.

use workers::verify::Code;

use super::deployment::AuditDeployment;

#[tokio::test]
async fn a_free_order_is_sound_without_a_charge_and_not_with_one() {
    let town = AuditDeployment::open().await;
    town.shop.price(0).await;
    let order = town.served().await;
    assert!(order.shipment.is_some());
    assert_eq!(town.codes().await, []);
    town.charge("by-hand", Some(order.id)).await;
    assert_eq!(town.codes().await, [Code::LedgerCaptureUnexpected]);
}
