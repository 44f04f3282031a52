//! Cases of merchants, keys and mails.

use std::{sync::Arc, time::Duration};

use base::{Timestamp, time::later};
use store::{
    OrderStore,
    domain::{EventKind, KeyId, MerchantId},
    merchants::{CardTestingFacts, KEY_USE_EVERY, KeyRecord, KeyScope, MerchantRecord, NewKey, StoredKey},
    orders::MailRecord,
};

use super::OrdersFixture;
use crate::{START_MILLIS, race};

pub async fn merchants_and_keys_are_ensured(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let merchant = MerchantId::fresh(&world.time.ambient);
    let ensure = |name| world.store.ensure_merchant(merchant, name, world.time.tick());
    assert_eq!(world.store.merchant_name(merchant).await.expect("reads"), None);
    assert!(ensure("First").await.expect("ensures"));
    assert!(!ensure("First").await.expect("ensures"));
    assert_eq!(world.store.merchant_name(merchant).await.expect("reads").as_deref(), Some("First"));
    for (hash, scope) in [([1; 32], KeyScope::Publishable), ([2; 32], KeyScope::Secret)] {
        let key = KeyRecord { id: KeyId::fresh(&world.time.ambient), merchant, scope };
        assert_eq!(world.store.key_by_hash(hash).await.expect("reads"), None);
        assert!(world.store.ensure_key(&key, hash, world.time.tick()).await.expect("ensures"));
        assert!(!world.store.ensure_key(&key, hash, world.time.tick()).await.expect("ensures"));
        assert_eq!(world.store.key_by_hash(hash).await.expect("reads"), Some(key));
    }
}

pub async fn merchants_are_listed_by_id(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let (second, third) = (world.neighbour().await.merchant, world.neighbour().await.merchant);
    let list = |after, limit| world.store.merchants(after, limit);
    let ids = |found: Vec<MerchantRecord>| found.iter().map(|merchant| merchant.id).collect::<Vec<_>>();
    assert_eq!(ids(list(None, 10).await.expect("reads")), [world.merchant, second, third]);
    assert_eq!(ids(list(None, 2).await.expect("reads")), [world.merchant, second], "the first page");
    assert_eq!(ids(list(Some(second), 2).await.expect("reads")), [third], "the rest");
    let one = world.store.merchant(second).await.expect("reads").expect("is stored");
    assert_eq!((one.id, &*one.name), (second, "Neighbour"));
    assert_eq!(world.store.merchant(MerchantId::fresh(&world.time.ambient)).await.expect("reads"), None);
}

pub async fn a_key_is_listed_noted_and_revoked(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let (store, merchant) = (&world.store, world.merchant);
    let mut made = Vec::new();
    for (n, label) in [(1, None), (2, Some("till"))] {
        let at = world.time.tick();
        let record = KeyRecord { id: KeyId::fresh(&world.time.ambient), merchant, scope: KeyScope::Secret };
        let label = label.map(str::to_owned);
        let key = NewKey { record, hash: [n; 32], label, prefix: Some(format!("owk_sec_{n}")) };
        assert!(store.create_key(key.clone(), at).await.expect("creates"));
        assert!(!store.create_key(key.clone(), world.time.tick()).await.expect("creates"), "again");
        made.insert(0, StoredKey::fresh(key, at));
    }
    assert_eq!(store.keys(merchant).await.expect("reads"), made, "newest first");
    let neighbour = world.neighbour().await.merchant;
    assert!(store.keys(neighbour).await.expect("reads").is_empty(), "of one merchant");

    let (first, half) = (world.time.tick(), world.time.pass(KEY_USE_EVERY / 2));
    let after = world.time.pass(KEY_USE_EVERY);
    for (at, noted) in [(first, first), (half, first), (after, after)] {
        store.note_key_use(&made[0].record, at).await.expect("notes");
        assert_eq!(store.keys(merchant).await.expect("reads")[0].last_used_at, Some(noted));
    }

    let at = world.time.tick();
    made[0] = StoredKey { last_used_at: Some(after), revoked_at: Some(at), ..made[0].clone() };
    for at in [at, world.time.tick()] {
        let revoked = store.revoke_key(made[0].record.id, at).await.expect("revokes");
        assert_eq!(revoked.as_ref(), Some(&made[0]), "the first time stays");
    }
    assert_eq!(store.key_by_hash([2; 32]).await.expect("reads"), None);
    let again = store.ensure_key(&made[0].record, [2; 32], world.time.tick()).await;
    assert!(!again.expect("is there"), "a revoked key is not created again");
    assert_eq!(store.keys(merchant).await.expect("reads"), made);
    assert_eq!(store.key_by_hash([1; 32]).await.expect("reads"), Some(made[1].record.clone()), "the other");
    let unknown = KeyId::fresh(&world.time.ambient);
    assert_eq!(store.revoke_key(unknown, world.time.tick()).await.expect("answers"), None);
}

pub async fn a_mail_is_recorded_once_per_template(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let (one, two) = (world.placed(&[("mug", 1)]).await.id, world.placed(&[("mug", 1)]).await.id);
    let mail = |template: &str, message: &str| MailRecord {
        template: template.to_owned(),
        message_id: message.to_owned(),
        sent_at: world.time.tick(),
    };
    let first = mail("order_confirmed", "<1@example.com>");
    assert!(world.store.record_mail(one.into(), first.clone()).await.expect("records"));
    let again = mail("order_confirmed", "<2@example.com>");
    assert!(!world.store.record_mail(one.into(), again.clone()).await.expect("records"));
    assert!(world.store.record_mail(two.into(), again).await.expect("records"), "another order");
    let shipped = mail("order_shipped", "<3@example.com>");
    assert!(world.store.record_mail(one.into(), shipped.clone()).await.expect("records"), "another template");
    assert_eq!(
        world.store.mails(one.into()).await.expect("reads"),
        [first, shipped],
        "oldest first, unchanged"
    );

    let at_once = race(20, |i| {
        let (store, record) = (Arc::clone(&world.store), mail("refunded", &format!("<r{i}@example.com>")));
        async move { store.record_mail(two.into(), record).await.expect("records") }
    })
    .await;
    assert_eq!(at_once.iter().filter(|recorded| **recorded).count(), 1);
    assert_eq!(world.store.mails(two.into()).await.expect("reads").len(), 2);
}

pub async fn the_store_answers_a_ping(store: Arc<dyn OrderStore>) {
    store.ping().await.expect("can be used");
}

pub async fn a_merchant_is_told_of_card_testing_once_an_hour(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let other = world.neighbour().await;
    let begin = Timestamp::from_millisecond(START_MILLIS).expect("a time");
    assert_eq!(begin.as_second() % 3600, 0, "a full hour");
    let facts = CardTestingFacts { since: begin, payments: 40, declined: 31 };
    let tell = |world: &OrdersFixture, minutes: u64| {
        let (store, merchant) = (Arc::clone(&world.store), world.merchant);
        let at = later(begin, Duration::from_mins(minutes));
        async move { store.tell_card_testing(merchant, facts, at).await.expect("writes") }
    };
    let at_once = race(8, |_| tell(&world, 1)).await;
    assert_eq!(at_once.into_iter().filter(|is_told| *is_told).count(), 1);
    assert!(!tell(&world, 59).await && tell(&other, 59).await, "each merchant apart");
    assert!(tell(&world, 60).await && !tell(&world, 61).await, "and each hour");
    let unknown = MerchantId::fresh(&world.time.ambient);
    assert!(!world.store.tell_card_testing(unknown, facts, begin).await.expect("writes"));
    let events = world.merchant_events().await;
    let kinds: Vec<_> = events.iter().map(|event| (event.kind, event.sequence, event.order)).collect();
    assert_eq!(kinds, [(EventKind::CardTestingSuspected, 1, None); 2]);
    assert_eq!(events[0].data, store::event_data::card_testing(&facts));
}
