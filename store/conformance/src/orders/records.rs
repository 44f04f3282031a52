//! Cases of merchants, keys and mails.

use std::sync::Arc;

use store::{
    OrderStore,
    domain::{KeyId, MerchantId},
    merchants::{KeyRecord, KeyScope},
    orders::MailRecord,
};

use super::OrdersFixture;
use crate::race;

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
