//! Cases of listing payments by day, and of the scan over all payments.

use std::sync::Arc;

use base::Timestamp;
use store::{
    domain::{MerchantId, PaymentId, RefundId},
    payments::{NewPayment, PaymentStore},
};

use super::PaymentsFixture;
use crate::START_MILLIS;

const HOUR: i64 = 3_600_000;

pub async fn a_day_is_a_utc_day(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let midnight = START_MILLIS - 12 * HOUR;
    let offsets = [-1, 0, 1, 12 * HOUR, 24 * HOUR - 1, 24 * HOUR];
    let mut ids = Vec::new();
    // Inserted out of order: a listing sorts by the time of opening, not by the time of the write.
    for index in [3, 0, 5, 1, 4, 2] {
        let new = NewPayment { at: timestamp(midnight + offsets[index]), ..world.new_payment(100) };
        ids.push((offsets[index], new.id));
        world.store.open_payment(new).await.expect("opens");
    }
    ids.sort_unstable();
    for day in [0, 5 * HOUR, 24 * HOUR - 1] {
        let listed = ids_of(&world, world.merchant, timestamp(midnight + day), None, 100).await;
        assert_eq!(listed, ids[1..5].iter().map(|(_, id)| *id).collect::<Vec<_>>());
    }
    assert_eq!(ids_of(&world, world.merchant, timestamp(midnight - 1), None, 100).await, [ids[0].1]);
    assert_eq!(ids_of(&world, world.merchant, timestamp(midnight + 24 * HOUR), None, 100).await, [ids[5].1]);
    assert!(ids_of(&world, world.merchant, timestamp(midnight + 48 * HOUR), None, 100).await.is_empty());
}

pub async fn a_day_is_paged_without_gaps(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let mut opened = Vec::new();
    // Three share each timestamp, so that a page ends within one.
    for batch in 0..9 {
        let at = timestamp(START_MILLIS + batch);
        for _ in 0..3 {
            opened.push(
                world.store.open_payment(NewPayment { at, ..world.new_payment(100) }).await.expect("opens"),
            );
        }
    }
    let mut seen = Vec::new();
    let day = timestamp(START_MILLIS);
    loop {
        let after = seen.last().copied();
        let page = ids_of(&world, world.merchant, day, after, 4).await;
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen.len(), 27, "every payment once");
    let opened_at = |id: &PaymentId| opened.iter().find(|p| p.id == *id).expect("opened here").created_at;
    assert!(seen.is_sorted_by_key(opened_at), "oldest first");
    let mut distinct = seen.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 27, "none twice");
    let entries = world.store.list_by_day(world.merchant, day, None, 1).await.expect("reads");
    let first = opened.iter().find(|p| p.id == entries[0].id).expect("opened here");
    assert_eq!((entries[0].order, entries[0].amount_minor), (first.order, first.amount_minor));
    assert_eq!((entries[0].currency, entries[0].created_at), (first.currency, first.created_at));
}

pub async fn a_day_is_of_one_merchant(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let mine = world.opened(100).await;
    let other = MerchantId::fresh(&world.time.ambient);
    let foreign = NewPayment { merchant: other, ..world.new_payment(100) };
    world.store.open_payment(foreign.clone()).await.expect("opens");
    assert_eq!(ids_of(&world, world.merchant, mine.created_at, None, 100).await, [mine.id]);
    assert_eq!(ids_of(&world, other, mine.created_at, None, 100).await, [foreign.id]);
}

/// Other cases may share the store, so the scan may also find payments that this case did not open.
pub async fn all_payments_are_scanned(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let mut opened = Vec::new();
    for amount in 1..=25 {
        opened.push(world.opened(amount).await);
    }
    world.captured(26).await;
    for limit in [7, 100] {
        let mut seen: Vec<store::payments::PaymentEntry> = Vec::new();
        loop {
            let page = world.store.scan(seen.last().map(|last| last.id), limit).await.expect("reads");
            assert!(page.len() <= usize::try_from(limit).expect("small"));
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        for payment in &opened {
            let mut found = seen.iter().filter(|entry| entry.id == payment.id);
            let entry = found.next().expect("none is missed");
            assert!(found.next().is_none(), "none twice");
            assert_eq!((entry.order, entry.amount_minor), (payment.order, payment.amount_minor));
            assert_eq!((entry.currency, entry.created_at), (payment.currency, payment.created_at));
        }
    }
}

pub async fn many_payments_are_read_at_once(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let mut payments = Vec::new();
    for amount in 1..=20 {
        payments.push(world.opened(amount).await);
    }
    for amount in [100, 200] {
        let id = world.captured(amount).await.id;
        for end in [Some(true), Some(false), None] {
            world.time.tick();
            let refund = RefundId::fresh(&world.time.ambient);
            world.store.begin_refund(id, refund, 10, world.time.tick()).await.expect("begins");
            if let Some(done) = end {
                world.store.end_refund(id, refund, done, "re_1", world.time.tick()).await.expect("ends");
            }
        }
        payments.push(world.read(id).await);
    }
    let mut ids: Vec<PaymentId> = payments.iter().map(|payment| payment.id).collect();
    ids.insert(5, PaymentId::fresh(&world.time.ambient));
    payments.sort_by_key(|payment| payment.id);
    for found in [world.store.payments(&ids).await, world.store.committed_payments(&ids).await] {
        let mut found = found.expect("reads");
        found.sort_by_key(|payment| payment.id);
        assert_eq!(found, payments, "without the unknown one");
    }
    assert_eq!(world.store.payments(&[]).await.expect("reads"), []);
}

async fn ids_of(
    world: &PaymentsFixture,
    merchant: MerchantId,
    day: Timestamp,
    after: Option<PaymentId>,
    limit: u32,
) -> Vec<PaymentId> {
    let entries = world.store.list_by_day(merchant, day, after, limit).await.expect("reads");
    entries.into_iter().map(|entry| entry.id).collect()
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).expect("a time")
}
