//! Audit of the charges at Stripe, at a stand-in whose clock differs from ours.

use std::{sync::Arc, time::Duration};

use base::{Ambient, ambient::ManualClock};
use jobs::Job;
use serde_json::json;
use store::domain::{OrderId, OrderStatus, PaymentId};
use workers::{
    jobs::ChargePayment,
    verify::{Code, Scope},
};

use super::deployment::{AuditDeployment, codes};
use crate::{
    stripe::client_of,
    util::{StripeServer, TestMerchant, context},
};

struct Audited {
    town: AuditDeployment,
    stripe: StripeServer,
    clock: ManualClock,
}

impl Audited {
    async fn open(skew_seconds: i64) -> Self {
        let (ambient, clock) = Ambient::steered(31, Ambient::system().now());
        let stripe = StripeServer::start(ambient.clone(), skew_seconds).await;
        let provider = client_of(&stripe.url, Duration::from_secs(5), ambient.clone());
        let shop = TestMerchant::open_with(ambient).await;
        Self { town: AuditDeployment::open_at(shop, Arc::new(provider)).await, stripe, clock }
    }

    /// Times at Stripe have whole seconds: the next audit sees what happened before this.
    fn pass_time(&self) {
        self.clock.advance(Duration::from_secs(2));
    }

    /// A charge with the metadata of ours that nothing of the shop made.
    fn charge_for(&self, order: OrderId) -> String {
        let payment = PaymentId::of_order(order).to_string();
        let metadata = json!({ "order_id": order.to_string(), "payment_id": payment });
        self.stripe.charge_by_hand(&metadata, 2500)
    }
}

#[tokio::test]
async fn a_second_charge_at_stripe_is_found_until_it_is_given_back() {
    for skew in [600, -600, 0] {
        let audited = Audited::open(skew).await;
        let (town, order) = (&audited.town, audited.town.served().await);
        audited.pass_time();
        let (summary, violations) = town.audit(Scope::Changed, false).await;
        assert_eq!((summary.ledger, codes(&violations)), (Some(1), vec![]), "{skew}");
        let second = audited.charge_for(order.id);
        audited.pass_time();
        for scope in [Scope::Changed, Scope::Changed, Scope::Full] {
            let (_, violations) = town.audit(scope, false).await;
            assert_eq!(codes(&violations), [Code::LedgerCaptureUnexpected], "{skew} {scope:?}");
            assert!(violations[0].ids.contains(&("charge", second.clone())), "{violations:?}");
        }
        town.leaves_to_people().await;
        audited.stripe.change(&second, "latest_charge", json!({ "id": "ch_2", "amount_refunded": 2500 }));
        let (_, violations) = town.audit(Scope::Changed, false).await;
        assert_eq!(codes(&violations), [], "{skew}");
    }
}

#[tokio::test]
async fn a_charge_for_no_order_is_found_and_one_of_another_shop_is_none_of_ours() {
    let audited = Audited::open(0).await;
    audited.town.served().await;
    audited.charge_for(OrderId::fresh(&audited.town.shop.ambient));
    audited.stripe.charge_by_hand(&json!({ "invoice": "7" }), 900);
    audited.pass_time();
    assert_eq!(audited.town.codes().await, [Code::LedgerOrphan]);
}

#[tokio::test]
async fn money_kept_for_a_declined_payment_is_found_and_goes_back() {
    let audited = Audited::open(0).await;
    let town = &audited.town;
    let order = town.shop.place("pm_declined").await.id;
    town.work().await;
    assert_eq!(town.shop.status(order).await, OrderStatus::PaymentFailed);
    audited.stripe.change("pi_1", "status", "succeeded".into());
    audited.pass_time();
    assert_eq!(town.codes().await, [Code::LedgerCaptureUnexpected]);
    let (_, violations) = town.audit(Scope::Full, true).await;
    assert!(violations.iter().all(|violation| violation.repaired), "{violations:?}");
    town.work().await;
    assert_eq!(audited.stripe.refunded().len(), 1);
    assert_eq!(town.codes().await, []);
}

#[tokio::test]
async fn a_capture_that_stripe_does_not_have_is_found() {
    let audited = Audited::open(0).await;
    audited.town.served().await;
    audited.stripe.change("pi_1", "status", "requires_payment_method".into());
    audited.pass_time();
    assert_eq!(audited.town.codes().await, [Code::LedgerCaptureMissing]);
}

#[tokio::test]
async fn a_payment_of_an_earlier_provider_is_not_looked_for_and_a_second_charge_of_its_order_is_found() {
    let audited = Audited::open(0).await;
    let town = &audited.town;
    let order = town.shop.place("pm_card_visa").await.id;
    ChargePayment { order }.run(&context(town.shop.env())).await.expect("charges at the sandbox");
    town.work().await;
    assert_eq!(town.shop.status(order).await, OrderStatus::Fulfilled);
    audited.pass_time();
    assert_eq!(town.codes().await, []);
    audited.charge_for(order);
    audited.pass_time();
    assert_eq!(town.codes().await, [Code::LedgerCaptureUnexpected]);
    town.leaves_to_people().await;
}

#[tokio::test]
async fn a_ledger_of_many_pages_is_read_once() {
    let audited = Audited::open(-600).await;
    for _ in 0..250 {
        audited.charge_for(OrderId::fresh(&audited.town.shop.ambient));
        audited.clock.advance(Duration::from_secs(1));
    }
    audited.pass_time();
    let (summary, violations) = audited.town.audit(Scope::Full, false).await;
    assert_eq!((summary.ledger, violations.len()), (Some(250), 250));
    assert_eq!(audited.stripe.calls().iter().filter(|call| *call == "list").count(), 3);
}

#[tokio::test]
async fn a_refund_made_by_hand_without_a_report_is_recorded_by_the_repair_and_never_made_again() {
    for skew in [600, -600] {
        let audited = Audited::open(skew).await;
        let (town, order) = (&audited.town, audited.town.served().await.id);
        assert!(audited.stripe.refund_by_hand("pi_1", 2500));
        audited.pass_time();
        assert_eq!(town.codes().await, [Code::LedgerRefundUnexpected], "{skew}");
        town.repairs().await;
        assert_eq!(town.shop.status(order).await, OrderStatus::Refunded, "{skew}");
        assert_eq!(audited.stripe.refunded().len(), 1, "{skew}");
    }
}
