//! Reads from a replica: which reads go there, what they may miss, and behaviour when the replica is away.

use std::time::Duration;

use base::{
    Ambient,
    postgres::PostgresConfig,
    testing::{Proxy, until},
};
use store::{
    catalog::{Catalog, ProductFilter, ProductSort},
    domain::{EndpointId, EventKind, MerchantId, OrderStatus, PageRequest},
    merchants::Merchants,
    orders::{Mails, OrderFilter, Orders},
    outbox::Outbox,
    webhooks::{Endpoint, EndpointChange, Subscription, Webhooks},
};
use store_postgres::{PostgresOrders, ReadStats};

use super::shop::TestMerchant;
use crate::util::{
    postgres::{Lent, open},
    replica::{Replay, address, beside, config, going_on, replicated, skipped},
};

/// Far above the delay that the loss of a replica may cost a read.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than any test.
const EVER: Duration = Duration::from_mins(10);

/// A shop on the primary alone, which a replicated store cannot tell from another process.
async fn elsewhere(database: &Lent) -> TestMerchant {
    let shop = TestMerchant::new(open(&database.config()).await, Ambient::system()).await;
    shop.product("mug", 10).await;
    shop
}

fn first<C>(limit: u32) -> PageRequest<C> {
    PageRequest { limit, after: None }
}

async fn caught_up(shop: &TestMerchant, store: &PostgresOrders) {
    let answered = |stats: ReadStats| (stats.replica, stats.repeated);
    let asked = async || {
        let before = answered(store.read_stats());
        store.product(shop.merchant, "mug").await.expect("reads");
        answered(store.read_stats()) == (before.0 + 1, before.1)
    };
    until("the replica answers", asked).await;
}

fn endpoint(shop: &TestMerchant) -> Endpoint {
    Endpoint {
        id: EndpointId::fresh(&shop.ambient),
        merchant: shop.merchant,
        url: "https://example.com/hook".to_owned(),
        events: Subscription::All,
        secret: "whsec_x".to_owned(),
        enabled: true,
        failing_since: None,
        disabled: None,
        previous_secrets: Vec::new(),
        times_disabled: 0,
        created_at: shop.ambient.now(),
    }
}

#[tokio::test]
async fn merchants_look_at_the_replica_and_workers_at_the_primary() {
    if skipped() {
        return;
    }
    let (replay, database) = (Replay::alone().await, Lent::new().await);
    let shop = elsewhere(&database).await;
    let (order, hook) = (shop.place("1", &["mug"]).await, endpoint(&shop));
    shop.store.create_endpoint(hook.clone()).await.expect("creates");
    let store = replicated(&database, config(&database, None), EVER).await;
    caught_up(&shop, &store).await;
    replay.pause().await;
    // The replica receives none of the following writes: its answers are the old ones.
    shop.pay(&order).await;
    shop.store.put_inventory(shop.merchant, "mug", 77, shop.ambient.now(), None).await.expect("puts");
    let off = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
    shop.store.update_endpoint(shop.merchant, hook.id, off).await.expect("updates");
    let (merchant, before) = (shop.merchant, store.read_stats());

    let seen = store.order(merchant, order.id).await.expect("reads").expect("is there");
    assert_eq!(seen.status, OrderStatus::Pending);
    let pending = OrderFilter { status: Some(OrderStatus::Pending), ..OrderFilter::default() };
    let listed = store.orders(merchant, pending, first(10)).await.expect("reads");
    assert_eq!(listed.items.len(), 1);
    let mug = store.product(merchant, "mug").await.expect("reads").expect("is there");
    let all = ProductFilter::default();
    let mugs = store.products(merchant, &all, ProductSort::Sku, first(10)).await.expect("reads").items;
    assert_eq!((mug.on_hand, mugs[0].on_hand), (10, 10));
    assert_eq!(store.categories(merchant).await.expect("reads").len(), 1);
    assert!(store.endpoint(merchant, hook.id).await.expect("reads").expect("is there").enabled);
    assert!(store.endpoints(merchant, first(10)).await.expect("reads").items[0].enabled);
    assert!(store.attempts_of_order(order.id).await.expect("reads").is_empty());
    let looked = ReadStats { replica: before.replica + 8, ..before };
    assert_eq!(store.read_stats(), looked);

    let seen = store.order_by_id(order.id).await.expect("reads").expect("is there");
    assert_eq!(seen.status, OrderStatus::Paid);
    let events = store.events(merchant, first(100)).await.expect("reads").items;
    assert!(events.iter().any(|event| event.kind == EventKind::OrderPaid));
    let events = store.order_events(order.id, 0).await.expect("reads");
    assert!(events.iter().any(|event| event.kind == EventKind::OrderPaid));
    assert!(!store.endpoint_by_id(hook.id).await.expect("reads").expect("is there").enabled);
    assert!(store.subscribers(merchant, EventKind::OrderPaid).await.expect("reads").is_empty());
    assert!(store.backlog().await.expect("reads").messages > 3);
    assert!(store.mails(order.id.into()).await.expect("reads").is_empty());
    assert_eq!(store.merchant_name(merchant).await.expect("reads").as_deref(), Some("Shop"));
    store.ping().await.expect("the primary can be written");
    assert_eq!(store.read_stats(), looked, "none of these may go to a replica");
}

#[tokio::test]
async fn a_merchant_sees_what_it_wrote_however_long_the_replica_stands() {
    if skipped() {
        return;
    }
    let (replay, database) = (Replay::alone().await, Lent::new().await);
    let (shop, other) = (elsewhere(&database).await, elsewhere(&database).await);
    let store = replicated(&database, config(&database, None), EVER).await;
    caught_up(&shop, &store).await;
    caught_up(&other, &store).await;
    replay.pause().await;
    let new = shop.new_order("1", &["mug"]);
    let id = new.id;
    store.place_order(new).await.expect("places");
    let merchant = shop.merchant;
    assert!(store.order(merchant, id).await.expect("reads").is_some());
    assert_eq!(
        store.orders(merchant, OrderFilter::default(), first(10)).await.expect("reads").items.len(),
        1
    );
    let mug = store.product(merchant, "mug").await.expect("reads").expect("is there");
    assert_eq!(mug.reserved, 1);
    store.cancel(merchant, id, "no", shop.ambient.now()).await.expect("cancels");
    let cancelled = store.order(merchant, id).await.expect("reads").expect("is there");
    assert_eq!(cancelled.status, OrderStatus::Cancelled);
    assert_eq!(store.read_stats().repeated, 0, "the replica was not even asked");

    // Other merchants still read from the replica.
    caught_up(&other, &store).await;
    replay.resume().await;
    caught_up(&shop, &store).await;
    assert_eq!(store.order(merchant, id).await.expect("reads"), Some(cancelled));
}

#[tokio::test]
async fn a_move_of_a_worker_in_this_process_is_seen_by_its_merchant() {
    if skipped() {
        return;
    }
    let (replay, database) = (Replay::alone().await, Lent::new().await);
    let shop = elsewhere(&database).await;
    let order = shop.place("1", &["mug"]).await;
    let store = replicated(&database, config(&database, None), EVER).await;
    caught_up(&shop, &store).await;
    replay.pause().await;
    let facts = store::orders::CaptureFacts {
        payment: store::domain::PaymentId::of_order(order.id),
        provider_reference: "ch_1".to_owned(),
        amount_minor: order.total_minor,
    };
    store.mark_paid(order.id, facts, shop.ambient.now()).await.expect("pays");
    let seen = store.order(shop.merchant, order.id).await.expect("reads").expect("is there");
    assert_eq!(seen.status, OrderStatus::Paid);
}

#[tokio::test]
async fn what_a_replica_lacks_is_looked_for_at_the_primary() {
    if skipped() {
        return;
    }
    let (replay, database) = (Replay::alone().await, Lent::new().await);
    let shop = elsewhere(&database).await;
    let store = replicated(&database, config(&database, None), EVER).await;
    caught_up(&shop, &store).await;
    replay.pause().await;
    // Written by another process, so this store does not know of it.
    let (one, _) = (shop.place("1", &["mug"]).await, shop.place("2", &["mug"]).await);
    let (merchant, before) = (shop.merchant, store.read_stats());
    assert_eq!(store.order(merchant, one.id).await.expect("reads"), Some(one.clone()));
    assert_eq!(store.order(MerchantId::fresh(&shop.ambient), one.id).await.expect("reads"), None);
    let newest = shop.store.events(merchant, first(1)).await.expect("reads").items.remove(0);
    let rest = PageRequest { limit: 10, after: Some(newest.id) };
    assert!(!store.events(merchant, rest).await.expect("reads").items.is_empty(), "not the last page");
    let after = store.read_stats();
    assert_eq!((after.replica, after.repeated), (before.replica, before.repeated + 2));
}

#[tokio::test]
async fn a_replica_too_far_behind_is_left_alone_until_it_has_caught_up() {
    if skipped() {
        return;
    }
    let (replay, database) = (Replay::alone().await, Lent::new().await);
    let (shop, lag_max) = (elsewhere(&database).await, Duration::from_millis(500));
    let store = replicated(&database, config(&database, None), lag_max).await;
    caught_up(&shop, &store).await;
    replay.pause().await;
    shop.store.put_inventory(shop.merchant, "mug", 77, shop.ambient.now(), None).await.expect("puts");
    until("the lag is noticed", async || store.lag().is_some_and(|lag| lag > lag_max)).await;
    let before = store.read_stats();
    let mug = store.product(shop.merchant, "mug").await.expect("reads").expect("is there");
    assert_eq!(mug.on_hand, 77);
    assert_eq!(store.read_stats(), ReadStats { primary: before.primary + 1, ..before });
    replay.resume().await;
    caught_up(&shop, &store).await;
    let mug = store.product(shop.merchant, "mug").await.expect("reads").expect("is there");
    assert_eq!(mug.on_hand, 77);
}

#[tokio::test]
async fn reads_go_on_while_the_replica_is_away_and_it_is_used_again() {
    if skipped() {
        return;
    }
    let (_replaying, database) = (going_on().await, Lent::new().await);
    let (shop, proxy) = (elsewhere(&database).await, Proxy::start(address()).await);
    let replica = config(&database, Some(proxy.port));
    let store = replicated(&database, replica, Duration::from_secs(1)).await;
    for _ in 0..3 {
        caught_up(&shop, &store).await;
        proxy.set_accepting(false);
        proxy.cut();
        for _ in 0..20 {
            store.product(shop.merchant, "mug").await.expect("reads").expect("is there");
        }
        until("the loss is noticed", async || store.lag().is_none()).await;
        store.product(shop.merchant, "mug").await.expect("reads").expect("is there");
        proxy.set_accepting(true);
    }
    caught_up(&shop, &store).await;
}

#[tokio::test]
async fn a_read_is_not_left_hanging_on_a_silent_replica() {
    if skipped() {
        return;
    }
    let (_replaying, database) = (going_on().await, Lent::new().await);
    let (shop, proxy) = (elsewhere(&database).await, Proxy::start(address()).await);
    // No timeout of the pool ends the wait.
    let replica = config(&database, Some(proxy.port));
    let replica = PostgresConfig { pool_max: 2, acquire_timeout: EVER, ..replica };
    let store = replicated(&database, replica, EVER).await;
    caught_up(&shop, &store).await;
    proxy.set_deaf(true);
    // More reads than the replica's pool has connections.
    let reads = (0..8).map(|_| store.product(shop.merchant, "mug"));
    let answers = tokio::time::timeout(PATIENCE, futures::future::join_all(reads)).await;
    for answer in answers.expect("none is left hanging") {
        assert!(answer.expect("reads").is_some());
    }
    assert!(store.read_stats().repeated > 0, "some had been sent to the replica");
    assert_eq!(store.lag(), None);
    // The old connections stay silent; new ones work.
    proxy.set_deaf(false);
    caught_up(&shop, &store).await;
}

#[tokio::test]
async fn of_two_replicas_the_one_that_answers_is_read() {
    if skipped() {
        return;
    }
    let (_replaying, database) = (going_on().await, Lent::new().await);
    let shop = elsewhere(&database).await;
    let proxies = [Proxy::start(address()).await, Proxy::start(address()).await];
    let replicas = proxies.iter().map(|proxy| config(&database, Some(proxy.port))).collect();
    let store = beside(&database, replicas, Duration::from_secs(1)).await;
    for away in &proxies {
        until("both have caught up", async || store.lag().is_some()).await;
        away.set_accepting(false);
        away.cut();
        until("the loss is noticed", async || store.lag().is_none()).await;
        caught_up(&shop, &store).await;
        away.set_accepting(true);
    }
    until("both are followed again", async || store.lag().is_some()).await;
}

#[tokio::test]
async fn reads_in_flight_on_a_silent_replica_send_others_to_the_next() {
    if skipped() {
        return;
    }
    let (_replaying, database) = (going_on().await, Lent::new().await);
    let shop = elsewhere(&database).await;
    let proxies = [Proxy::start(address()).await, Proxy::start(address()).await];
    let replicas = proxies.iter().map(|proxy| config(&database, Some(proxy.port))).collect();
    let store = beside(&database, replicas, EVER).await;
    until("both have caught up", async || store.lag().is_some()).await;
    caught_up(&shop, &store).await;
    proxies[0].set_deaf(true);
    let before = store.read_stats();
    let reads = (0..8).map(|_| store.product(shop.merchant, "mug"));
    let answers = tokio::time::timeout(PATIENCE, futures::future::join_all(reads)).await;
    for answer in answers.expect("none is left hanging") {
        assert!(answer.expect("reads").is_some());
    }
    let after = store.read_stats();
    assert!(after.replica >= before.replica + 4, "half of them or more: {before:?} {after:?}");
    proxies[0].set_deaf(false);
}

#[tokio::test]
async fn a_server_that_is_no_replica_of_this_database_is_not_read() {
    if skipped() {
        return;
    }
    let (_replaying, database, other) = (going_on().await, Lent::new().await, Lent::new().await);
    let shop = elsewhere(&database).await;
    for stranger in [database.config(), config(&other, None)] {
        let url: url::Url = secrecy::ExposeSecret::expose_secret(&stranger.url).parse().expect("an address");
        let server = format!("127.0.0.1:{}", url.port().unwrap_or(5432)).parse().expect("an address");
        let proxy = Proxy::start(server).await;
        let mut through = url;
        through.set_port(Some(proxy.port)).expect("can have one");
        let replica = PostgresConfig { url: String::from(through).into(), ..stranger };
        let store = beside(&database, vec![replica], EVER).await;
        // A replica is connected to twice, by the probe and by the pool; more often only after it was rejected.
        until("it was looked at again", async || proxy.through() > 2).await;
        assert_eq!(store.lag(), None);
        store.product(shop.merchant, "mug").await.expect("reads").expect("is there");
        assert_eq!(store.read_stats(), ReadStats { primary: 1, ..ReadStats::default() });
    }
}
