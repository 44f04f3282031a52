//! Cases of opening payments, attempts and their epochs.

use std::{collections::BTreeSet, sync::Arc};

use store::{
    domain::{OrderId, PaymentId, PaymentState},
    payments::{Begun, Decided, NewPayment, PaymentStore, RefundBegun},
};

use super::PaymentsFixture;
use crate::race;

pub async fn opening_again_changes_nothing(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let new = world.new_payment(1234);
    let first = world.store.open_payment(new.clone()).await.expect("opens");
    assert_eq!((first.id, first.order, first.merchant), (new.id, new.order, new.merchant));
    assert_eq!((first.amount_minor, first.currency, first.created_at), (1234, new.currency, new.at));
    assert_eq!((first.method.as_str(), first.provider.as_str()), ("pm_card_visa", "sandbox"));
    assert_eq!((first.epoch, first.decision.clone(), first.decided_at), (0, None, None));
    assert_eq!((first.refunds.len(), first.state()), (0, PaymentState::Created));

    let other = NewPayment { amount_minor: 1, method: "pm_other".into(), at: world.time.tick(), ..new };
    assert_eq!(world.store.open_payment(other.clone()).await.expect("opens"), first);
    let epoch = world.begun(first.id).await;
    let now = world.store.open_payment(other).await.expect("opens");
    assert_eq!((now.epoch, now.amount_minor, now.state()), (epoch, 1234, PaymentState::Processing));
    assert_eq!(world.read(first.id).await, now);
}

pub async fn opening_at_once_stores_one(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let new = world.new_payment(500);
    let answers = race(30, |i| {
        let (store, new) = (Arc::clone(&world.store), new.clone());
        async move {
            store.open_payment(NewPayment { amount_minor: 500 + i64::from(i), ..new }).await.expect("opens")
        }
    })
    .await;
    let stored = world.read(new.id).await;
    assert!(answers.iter().all(|answer| *answer == stored), "all callers see the one stored payment");
}

pub async fn epochs_start_at_one_and_rise(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.opened(100).await;
    let mut begun = Vec::new();
    for expected in 1..=5 {
        let at = world.time.tick();
        begun.push(at);
        let worker = format!("worker-{expected}");
        let answer = world.store.begin_attempt(payment.id, &worker, at).await.expect("begins");
        assert_eq!(answer, Begun::Attempt { epoch: expected });
    }
    let attempts = world.store.attempts(payment.id).await.expect("reads");
    let seen: Vec<_> = attempts.iter().map(|a| (a.epoch, a.worker.clone(), a.begun_at)).collect();
    let expected: Vec<_> = (1..=5).zip(begun).map(|(n, at)| (n, format!("worker-{n}"), at)).collect();
    assert_eq!(seen, expected);
    assert!(attempts.iter().all(|attempt| attempt.note.is_none()));
    assert_eq!(world.read(payment.id).await.epoch, 5);
}

pub async fn epochs_rise_under_concurrent_begins(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.opened(100).await;
    let epochs = race(50, |_| {
        let world = world.clone();
        async move { world.begun(payment.id).await }
    })
    .await;
    let distinct: BTreeSet<u64> = epochs.iter().copied().collect();
    assert_eq!(distinct.len(), 50, "no epoch is given out twice");
    let attempts = world.store.attempts(payment.id).await.expect("reads");
    assert_eq!(attempts.iter().map(|a| a.epoch).collect::<BTreeSet<_>>(), distinct);
    assert!(attempts.is_sorted_by(|a, b| a.epoch < b.epoch), "oldest first");
    let newest = distinct.last().copied().unwrap_or_default();
    assert_eq!(world.read(payment.id).await.epoch, newest);
    assert!(world.begun(payment.id).await > newest);
}

pub async fn payments_do_not_share_epochs(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let (one, two) = (world.opened(100).await, world.opened(100).await);
    assert_eq!(world.begun(one.id).await, 1);
    assert_eq!(world.begun(one.id).await, 2);
    assert_eq!(world.begun(two.id).await, 1);
    assert_eq!(world.read(one.id).await.epoch, 2);
}

pub async fn a_note_stays_with_its_attempt(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.opened(100).await;
    let (first, second) = (world.begun(payment.id).await, world.begun(payment.id).await);
    // A worker may note how its attempt ended after a newer one began, and may repeat the note.
    for _ in 0..2 {
        let at = world.time.tick();
        world.store.annotate_attempt(payment.id, first, "timeout after 30 s", at).await.expect("notes");
    }
    world.store.annotate_attempt(payment.id, second, "503", world.time.tick()).await.expect("notes");
    world
        .store
        .annotate_attempt(payment.id, second + 7, "never begun", world.time.tick())
        .await
        .expect("answers");
    let notes: Vec<_> = world
        .store
        .attempts(payment.id)
        .await
        .expect("reads")
        .into_iter()
        .map(|a| (a.epoch, a.note))
        .collect();
    assert_eq!(notes, [(first, Some("timeout after 30 s".into())), (second, Some("503".into()))]);
    let after = world.read(payment.id).await;
    assert_eq!(
        (after.epoch, after.decision.clone(), after.state()),
        (second, None, PaymentState::Processing)
    );
}

pub async fn unknown_payments_are_not_found(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let id = PaymentId::of_order(OrderId::fresh(&world.time.ambient));
    let refund = store::domain::RefundId::fresh(&world.time.ambient);
    let at = world.time.tick();
    assert_eq!(world.store.begin_attempt(id, "w", at).await.expect("answers"), Begun::NotFound);
    assert_eq!(world.decide(id, 1, super::capture("ch")).await, Decided::NotFound);
    assert_eq!(world.store.begin_refund(id, refund, 1, at).await.expect("answers"), RefundBegun::NotFound);
    assert_eq!(world.store.end_refund(id, refund, true, "re", at).await.expect("answers"), None);
    assert_eq!(world.store.payment(id).await.expect("reads"), None);
    assert!(world.store.attempts(id).await.expect("reads").is_empty());
    world.store.ping().await.expect("can be used");
}
