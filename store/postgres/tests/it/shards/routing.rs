//! Routing of merchants to shards, and behaviour when a shard is away.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base::{
    Ambient,
    testing::{Proxy, until},
};
use secrecy::{ExposeSecret, SecretString};
use store::{
    error::StoreError,
    merchants::Merchants,
    orders::{Orders, PlaceOutcome},
    outbox::Outbox,
};
use store_postgres::{LOCATED_FOR, PostgresOrders};

use super::{TestMerchant, needs_postgres, rows_of, worth::drain};
use crate::util::{
    postgres::{Lent, pool},
    shards::{NAMES, named, sharded, two},
};

const LEASE: Duration = Duration::from_secs(30);

/// Shops with a product each.
async fn shops(store: &PostgresOrders, count: usize) -> Vec<TestMerchant> {
    let mut shops = Vec::new();
    for _ in 0..count {
        let shop = TestMerchant::new(store.clone(), Ambient::system()).await;
        shop.product("mug", 100).await;
        shops.push(shop);
    }
    shops
}

/// The databases that hold rows of a shop.
async fn homes(databases: &[Lent; 2], shop: &TestMerchant) -> Vec<&'static str> {
    let mut homes = Vec::new();
    for (name, database) in NAMES.into_iter().zip(databases) {
        if rows_of(&pool(database).await, shop.merchant).await > 0 {
            homes.push(name);
        }
    }
    homes
}

#[tokio::test]
async fn merchants_are_spread_and_whole_and_a_pin_wins() {
    needs_postgres!();
    let databases = two().await;
    let store = sharded(&named(&databases), &[], LOCATED_FOR).await;
    let mut found = BTreeSet::new();
    for shop in shops(&store, 12).await {
        shop.place("k", &["mug"]).await;
        let homes = homes(&databases, &shop).await;
        assert_eq!(homes.len(), 1, "a merchant lives in one database");
        found.extend(homes);
    }
    assert_eq!(found.len(), 2, "of twelve, some live on either");
    for name in NAMES {
        let merchant = store::domain::MerchantId::fresh(&Ambient::system());
        let pinned = sharded(&named(&databases), &[(merchant, name)], LOCATED_FOR).await;
        let shop = TestMerchant::of(pinned, Ambient::system(), merchant).await;
        assert_eq!(homes(&databases, &shop).await, [name]);
    }
}

#[tokio::test]
async fn a_changed_map_loses_no_merchant() {
    needs_postgres!();
    let databases = two().await;
    let configs = named(&databases);
    let store = sharded(&configs, &[], LOCATED_FOR).await;
    let shops = shops(&store, 8).await;
    // Every merchant is pinned to the shard that does not hold its rows.
    let mut pins = Vec::new();
    for shop in &shops {
        let home = homes(&databases, shop).await;
        pins.push((shop.merchant, if home == ["a"] { "b" } else { "a" }));
    }
    let other = sharded(&configs, &pins, LOCATED_FOR).await;
    for shop in shops {
        let before = shop.place("before", &["mug"]).await;
        let shop = shop.through(other.clone());
        let now = shop.ambient.now();
        assert!(!other.ensure_merchant(shop.merchant, "Shop", now).await.expect("answers"), "it is known");
        assert_eq!(other.order_by_id(before.id).await.expect("reads").map(|order| order.id), Some(before.id));
        shop.pay(&before).await;
        let again = shop.try_place("before", &["mug"]).await.expect("answers");
        assert!(matches!(again, PlaceOutcome::Replayed { .. }), "{again:?}");
        assert_eq!(homes(&databases, &shop).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_away_takes_its_own_merchants_only() {
    needs_postgres!();
    let databases = two().await;
    let mut configs = named(&databases);
    let url = configs["b"].url.expose_secret().to_owned();
    let proxy = Proxy::to(&url).await;
    let far = configs.get_mut("b").expect("is there");
    far.url = SecretString::from(proxy.address(&url));
    for config in configs.values_mut() {
        config.acquire_timeout = Duration::from_millis(500);
    }
    let ambient = Ambient::system();
    let [near_id, far_id] = [0, 1].map(|_| store::domain::MerchantId::fresh(&ambient));
    let store = sharded(&configs, &[(near_id, "a"), (far_id, "b")], Duration::from_millis(50)).await;
    let near = TestMerchant::of(store.clone(), ambient.clone(), near_id).await;
    let far = TestMerchant::of(store.clone(), ambient, far_id).await;
    for shop in [&near, &far] {
        shop.product("mug", 100).await;
        shop.place("before", &["mug"]).await;
    }
    drain(&near).await;
    proxy.sever();
    until("the shard is away", async || store.health().await[1].1.is_err()).await;

    let order = near.place("k", &["mug"]).await;
    near.pay(&order).await;
    near.fulfil(&order).await;
    let refused = far.try_place("k", &["mug"]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    let unknown = store.order_by_id(store::domain::OrderId::fresh(&near.ambient)).await;
    assert!(matches!(unknown, Err(StoreError::Unavailable { .. })), "it may be on the shard that is away");
    store.ping().await.expect("it is of use");
    // Whichever shard is asked first, the messages of the other merchants are claimed.
    let sent = drain(&near).await;
    assert_eq!(sent.len(), 5, "placed, captured, paid, fulfilled, and the stock: {sent:?}");

    proxy.restore();
    until("its merchants can order again", async || far.try_place("k", &["mug"]).await.is_ok()).await;
    until("its messages are taken again", async || !drain(&far).await.is_empty()).await;
}

#[tokio::test]
async fn a_full_shard_does_not_starve_the_other() {
    needs_postgres!();
    let databases = two().await;
    let ambient = Ambient::system();
    let [busy, quiet] = [0, 1].map(|_| store::domain::MerchantId::fresh(&ambient));
    let store = sharded(&named(&databases), &[(busy, "a"), (quiet, "b")], LOCATED_FOR).await;
    let busy = TestMerchant::of(store.clone(), ambient.clone(), busy).await;
    let quiet = TestMerchant::of(store.clone(), ambient, quiet).await;
    for shop in [&busy, &quiet] {
        shop.product("mug", 100).await;
    }
    drain(&busy).await;
    for n in 0..20 {
        busy.place(&format!("k{n}"), &["mug"]).await;
    }
    quiet.place("k", &["mug"]).await;
    assert_eq!(store.backlog().await.expect("counts").messages, 21);
    let mut taken = BTreeMap::<u16, usize>::new();
    for _ in 0..2 {
        for message in store.claim("r", 5, LEASE, busy.ambient.now()).await.expect("claims") {
            *taken.entry(message.position.shard).or_default() += 1;
        }
    }
    assert!(taken.len() == 2 && taken.values().sum::<usize>() <= 10, "{taken:?}");
}

#[tokio::test]
async fn months_are_made_in_every_shard() {
    needs_postgres!();
    let databases = [crate::util::postgres::migrated().await, crate::util::postgres::migrated().await];
    let configs =
        NAMES.iter().zip(&databases).map(|(name, database)| ((*name).to_owned(), database.config()));
    let store = sharded(&configs.collect(), &[], LOCATED_FOR).await;
    let created = store.create_partitions(super::super::shop::at("2031-05-05T00:00:00Z"), 0).await;
    let created = created.expect("creates");
    assert_eq!(created.len(), 10);
    for name in NAMES {
        assert!(created.contains(&format!("{name}/orders_y2031m05")), "{created:?}");
    }
}
