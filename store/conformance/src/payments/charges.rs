//! Cases of the provider's id of a charge: one per payment, recorded by the newest attempt.

use std::sync::Arc;

use store::{
    domain::{OrderId, PaymentId},
    payments::{Begun, ChargeRecorded, Decided, PaymentStore},
};

use super::{PaymentsFixture, capture, decline};
use crate::race;

impl PaymentsFixture {
    async fn charge(&self, id: PaymentId, epoch: u64, reference: &str) -> ChargeRecorded {
        self.store.record_charge(id, epoch, reference, self.time.tick()).await.expect("records")
    }
}

fn recorded(reference: &str) -> ChargeRecorded {
    ChargeRecorded::Charge(reference.to_owned())
}

pub async fn only_the_newest_attempt_records_a_charge(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let unknown = PaymentId::of_order(OrderId::fresh(&world.time.ambient));
    assert_eq!(world.charge(unknown, 1, "pi_0").await, ChargeRecorded::NotFound);
    let id = world.opened(100).await.id;
    for epoch in [0, 1, u64::MAX] {
        let answer = world.charge(id, epoch, "pi_never").await;
        assert_eq!(answer, ChargeRecorded::Stale { current_epoch: 0 }, "epoch {epoch}");
    }
    let (paused, newest) = (world.begun(id).await, world.begun(id).await);
    let stale = ChargeRecorded::Stale { current_epoch: newest };
    assert_eq!(world.charge(id, paused, "pi_paused").await, stale);
    assert_eq!(world.read(id).await.charge, None);
    assert_eq!(world.charge(id, newest, "pi_1").await, recorded("pi_1"));
    assert_eq!(world.charge(id, paused, "pi_paused").await, stale, "also beside a recorded one");
    assert_eq!(world.read(id).await.charge.as_deref(), Some("pi_1"));
}

pub async fn the_first_charge_stands(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    for decision in [capture("pi_1"), decline("card_declined")] {
        let new = world.new_payment(100);
        let id = world.store.open_payment(new.clone()).await.expect("opens").id;
        let first = world.begun(id).await;
        assert_eq!(world.charge(id, first, "pi_1").await, recorded("pi_1"));
        let second = world.begun(id).await;
        assert_eq!(world.charge(id, second, "pi_2").await, recorded("pi_1"));
        // Who opens the payment again learns of its charge.
        let again = world.store.open_payment(new).await.expect("opens");
        assert_eq!(again.charge.as_deref(), Some("pi_1"));
        assert_eq!(world.decide(id, second, decision.clone()).await, Decided::Recorded);
        assert_eq!(world.charge(id, second, "pi_3").await, ChargeRecorded::Decided(decision));
        assert_eq!(world.read(id).await.charge.as_deref(), Some("pi_1"));
    }
}

pub async fn racing_attempts_agree_on_one_charge(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let id = world.opened(100).await.id;
    let answers = race(60, |i| {
        let world = world.clone();
        async move {
            let at = world.time.tick();
            let Begun::Attempt { epoch } = world.store.begin_attempt(id, "w", at).await.expect("begins")
            else {
                panic!("the payment is open");
            };
            world.charge(id, epoch, &format!("pi_{i}")).await
        }
    })
    .await;
    let read = world.read(id).await.charge.expect("the last attempt is not stale");
    for answer in answers {
        match answer {
            ChargeRecorded::Charge(reference) => assert_eq!(reference, read),
            ChargeRecorded::Stale { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
