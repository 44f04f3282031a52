//! Cases of decisions: one per payment, by the newest epoch.

use std::sync::Arc;

use store::{
    domain::PaymentState,
    payments::{Begun, Decided, PaymentStore},
};

use super::{PaymentsFixture, capture, decline};
use crate::race;

pub async fn a_decision_is_recorded_once(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let (captured, declined) = (world.opened(100).await, world.opened(100).await);
    for (payment, first, second, state) in [
        (captured, capture("ch_1"), decline("card_declined"), PaymentState::Captured),
        (declined, decline("card_declined"), capture("ch_2"), PaymentState::Declined),
    ] {
        let epoch = world.begun(payment.id).await;
        let at = world.time.tick();
        let recorded =
            world.store.record_decision(payment.id, epoch, first.clone(), at).await.expect("decides");
        assert_eq!(recorded, Decided::Recorded);
        assert_eq!(world.decide(payment.id, epoch, first.clone()).await, Decided::Already(first.clone()));
        assert_eq!(world.decide(payment.id, epoch, second).await, Decided::Already(first.clone()));
        let read = world.read(payment.id).await;
        assert_eq!((read.decision.as_ref(), read.decided_at, read.state()), (Some(&first), Some(at), state));
    }
}

pub async fn a_stale_epoch_cannot_decide(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.opened(100).await;
    let (paused, newest) = (world.begun(payment.id).await, world.begun(payment.id).await);
    let stale = Decided::Stale { current_epoch: newest };
    for decision in [capture("ch_paused"), decline("card_declined")] {
        assert_eq!(world.decide(payment.id, paused, decision).await, stale);
    }
    assert_eq!(world.read(payment.id).await.decision, None);
    assert_eq!(world.decide(payment.id, newest, capture("ch_newest")).await, Decided::Recorded);
    assert_eq!(world.read(payment.id).await.decision, Some(capture("ch_newest")));
}

pub async fn an_epoch_never_given_out_cannot_decide(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.opened(100).await;
    for epoch in [0, 1, u64::MAX] {
        let decided = world.decide(payment.id, epoch, capture("ch")).await;
        assert_eq!(decided, Decided::Stale { current_epoch: 0 }, "epoch {epoch}");
    }
    let given = world.begun(payment.id).await;
    for epoch in [0, given + 1, u64::MAX] {
        let decided = world.decide(payment.id, epoch, capture("ch")).await;
        assert_eq!(decided, Decided::Stale { current_epoch: given }, "epoch {epoch}");
    }
    assert_eq!(world.read(payment.id).await.decision, None);
}

pub async fn racing_deciders_agree(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.opened(100).await;
    let epoch = world.begun(payment.id).await;
    let answers = race(100, |i| {
        let world = world.clone();
        async move {
            let decision =
                if i % 2 == 0 { capture(&format!("ch_{i}")) } else { decline(&format!("code_{i}")) };
            (decision.clone(), world.decide(payment.id, epoch, decision).await)
        }
    })
    .await;
    let recorded: Vec<_> = answers.iter().filter(|(_, answer)| *answer == Decided::Recorded).collect();
    assert_eq!(recorded.len(), 1, "exactly one is recorded");
    let winner = recorded[0].0.clone();
    for (mine, answer) in answers.iter().filter(|(_, answer)| *answer != Decided::Recorded) {
        assert_eq!(*answer, Decided::Already(winner.clone()), "the answer to {mine:?}");
    }
    assert_eq!(world.read(payment.id).await.decision, Some(winner));
}

pub async fn racing_attempts_and_deciders_agree(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.opened(100).await;
    let answers = race(100, |i| {
        let world = world.clone();
        async move {
            let at = world.time.tick();
            match world.store.begin_attempt(payment.id, "w", at).await.expect("begins") {
                Begun::Attempt { epoch } => {
                    Some((epoch, world.decide(payment.id, epoch, capture(&format!("ch_{i}"))).await))
                }
                Begun::Decided(_) => None,
                Begun::NotFound => panic!("the payment is open"),
            }
        }
    })
    .await;
    let read = world.read(payment.id).await;
    let decided: Vec<_> = answers.iter().flatten().collect();
    let recorded: Vec<_> = decided.iter().filter(|(_, a)| *a == Decided::Recorded).collect();
    // The last attempt begun is never stale, so one caller decides.
    assert_eq!(recorded.len(), 1);
    assert_eq!(read.epoch, recorded[0].0, "no attempt begins after the decision, none older decides");
    for (epoch, answer) in decided {
        match answer {
            Decided::Recorded => {}
            Decided::Already(decision) => assert_eq!(Some(decision), read.decision.as_ref()),
            Decided::Stale { current_epoch } => assert!(current_epoch > epoch),
            Decided::NotFound => panic!("the payment is open"),
        }
    }
}

pub async fn a_decided_payment_begins_no_attempt(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    for decision in [capture("ch_9"), decline("expired_card")] {
        let payment = world.opened(100).await;
        let epoch = world.begun(payment.id).await;
        assert_eq!(world.decide(payment.id, epoch, decision.clone()).await, Decided::Recorded);
        let again = world.store.begin_attempt(payment.id, "late", world.time.tick()).await.expect("answers");
        assert_eq!(again, Begun::Decided(decision));
        assert_eq!(world.store.attempts(payment.id).await.expect("reads").len(), 1);
        assert_eq!(world.read(payment.id).await.epoch, epoch);
    }
}

pub async fn a_reference_leads_to_its_payment(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let (one, two) = (world.opened(100).await, world.opened(100).await);
    let declined = world.opened(100).await;
    let reference = |name: &str| format!("ch_{name}_{}", world.merchant);
    for (payment, decision) in [
        (&one, capture(&reference("a"))),
        (&two, capture(&reference("b"))),
        (&declined, decline(&reference("c"))),
    ] {
        let epoch = world.begun(payment.id).await;
        assert_eq!(world.decide(payment.id, epoch, decision).await, Decided::Recorded);
    }
    for (provider, name, expected) in [
        ("sandbox", "a", Some(one.id)),
        ("sandbox", "b", Some(two.id)),
        ("sandbox", "c", None),
        ("sandbox", "d", None),
        ("another", "a", None),
    ] {
        let found = world.store.by_provider_reference(provider, &reference(name)).await.expect("reads");
        assert_eq!(found, expected, "{provider} {name}");
    }
}
