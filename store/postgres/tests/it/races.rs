//! Races of two processes over one database, each with its own store, pool and memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use base::Ambient;
use futures::future::join_all;
use sqlx::Executor;
use store::{
    domain::{OrderId, PageRequest},
    orders::PlaceOutcome,
    outbox::{Outbox, OutboxBody, OutboxMessage},
};
use tokio::task::JoinSet;

use super::{
    faults::until_one_waits,
    needs_postgres,
    shop::{TestMerchant, shop},
};
use crate::util::postgres::{Lent, open, patient, pool};

async fn two(database: &Lent) -> [TestMerchant; 2] {
    let config = patient(database);
    let one = TestMerchant::new(open(&config).await, Ambient::system()).await;
    let other = one.through(open(&config).await);
    [one, other]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_in_two_processes_places_one_order() {
    needs_postgres!();
    let database = Lent::new().await;
    let shops = two(&database).await;
    // Different products, so that the two requests share nothing but the key.
    shops[0].product("a", 50).await;
    shops[0].product("b", 50).await;
    for round in 0..20 {
        let key = format!("k{round}");
        let (one, two) = tokio::join!(shops[0].try_place(&key, &["a"]), shops[1].try_place(&key, &["b"]));
        let answers = [one.expect("answers"), two.expect("answers")];
        let placed: Vec<_> = answers
            .iter()
            .filter_map(|answer| match answer {
                PlaceOutcome::Placed { order, body } => Some((order.id, body)),
                _ => None,
            })
            .collect();
        let [(id, body)] = placed[..] else { panic!("{answers:?}") };
        let again = |answer: &&PlaceOutcome| matches!(answer, PlaceOutcome::Replayed { order, body: b } if *order == id && b == body);
        assert_eq!(answers.iter().filter(again).count(), 1, "{answers:?}");
    }
    let (a, b) = (shops[0].stock("a").await.1, shops[0].stock("b").await.1);
    assert_eq!(a + b, 20, "what lost gave its units back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_units_are_sold_once_over_two_processes() {
    needs_postgres!();
    let database = Lent::new().await;
    let shops = two(&database).await;
    shops[0].product("a", 30).await;
    shops[0].product("b", 1000).await;
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    let answers = {
        let shops = &shops;
        join_all(keys.iter().enumerate().map(|(n, key)| async move {
            let skus: [&str; 2] = if n % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
            shops[n % 3 % 2].try_place(key, &skus).await
        }))
        .await
    };
    let placed = answers.iter().filter(|answer| matches!(answer, Ok(PlaceOutcome::Placed { .. }))).count();
    let refused = answers.iter().filter(|answer| matches!(answer, Ok(PlaceOutcome::Refused(_)))).count();
    assert_eq!((placed, refused), (30, 70));
    assert_eq!((shops[1].stock("a").await, shops[1].stock("b").await), ((30, 30), (1000, 30)));
}

#[tokio::test]
async fn units_released_while_an_order_waits_are_sold_to_it() {
    needs_postgres!();
    let database = Lent::new().await;
    let (shop, pool) = (shop(&patient(&database)).await, pool(&database).await);
    pool.execute("UPDATE products SET reserved = on_hand WHERE sku = 'b'").await.expect("sells out");
    let mut cancelling = pool.begin().await.expect("begins");
    cancelling
        .execute("UPDATE products SET reserved = reserved - 1 WHERE sku = 'b'")
        .await
        .expect("releases");
    let placing = {
        let shop = shop.clone();
        tokio::spawn(async move { shop.try_place("k", &["a", "b"]).await })
    };
    until_one_waits(&pool).await;
    cancelling.commit().await.expect("commits");
    let placed = placing.await.expect("runs").expect("answers");
    assert!(matches!(placed, PlaceOutcome::Placed { .. }), "{placed:?}");
    assert_eq!((shop.stock("a").await, shop.stock("b").await), ((10, 1), (10, 10)), "each is reserved once");
}

/// The relay that holds each order's messages now, and the sequences sent so far.
#[derive(Default)]
struct Ledger {
    holders: HashMap<OrderId, usize>,
    sent: BTreeMap<OrderId, Vec<u64>>,
}

impl Ledger {
    fn take(&mut self, relay: usize, messages: &[OutboxMessage]) {
        for (order, _) in messages.iter().filter_map(event) {
            let holder = *self.holders.entry(order).or_insert(relay);
            assert_eq!(holder, relay, "{order} is held by two relays");
        }
    }

    fn give(&mut self, messages: &[OutboxMessage]) {
        for (order, sequence) in messages.iter().filter_map(event) {
            self.holders.remove(&order);
            self.sent.entry(order).or_default().push(sequence);
        }
    }
}

fn event(message: &OutboxMessage) -> Option<(OrderId, u64)> {
    match &message.body {
        OutboxBody::Event(event) => event.order.map(|order| (order, event.sequence)),
        OutboxBody::Command { .. } | OutboxBody::Unreadable(_) => None,
    }
}

/// Events are listed by position, and an earlier position may be committed later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_newest_events_misses_none_that_is_committed_late() {
    needs_postgres!();
    let database = Lent::new().await;
    let (shops, pool) = (two(&database).await, pool(&database).await);
    shops[0].product("a", 5).await;
    shops[0].product("b", 5).await;
    let placed = async || {
        let page = PageRequest { limit: 100, after: None };
        let events = shops[1].store.events(shops[1].merchant, page).await.expect("reads").items;
        events.into_iter().filter_map(|event| event.order).collect::<Vec<_>>()
    };
    // The late order draws its position and then waits for this key.
    let mut blocking = pool.begin().await.expect("begins");
    let key = "INSERT INTO idempotency_keys (merchant_id, key, fingerprint, order_id, body, created_at)
        VALUES ($1, 'late', decode(repeat('00', 32), 'hex'), $2, '{}', now())";
    let other = OrderId::fresh(&shops[0].ambient);
    let key = sqlx::query(key).bind(shops[0].merchant.0).bind(other.0);
    key.execute(&mut *blocking).await.expect("takes the key");
    let late = {
        let shop = shops[0].clone();
        tokio::spawn(async move { shop.place("late", &["a"]).await })
    };
    until_one_waits(&pool).await;
    let early = shops[1].place("early", &["b"]).await;
    assert!(placed().await.is_empty(), "an earlier event is under way");
    blocking.rollback().await.expect("rolls back");
    let late = late.await.expect("runs");
    assert_eq!(placed().await, [early.id, late.id], "the newest first");
}

const ORDERS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_share_the_work_and_keep_each_orders_sequence() {
    needs_postgres!();
    let database = Lent::new().await;
    let shops = two(&database).await;
    shops[0].product("a", 1000).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut relays = JoinSet::new();
    for relay in 0..4 {
        let (shop, ledger) = (shops[relay % 2].clone(), Arc::clone(&ledger));
        relays.spawn(async move { run_relay(relay, &shop, &ledger).await });
    }
    // Orders change state while their first messages are claimed.
    for n in 0..ORDERS {
        let order = shops[0].place(&format!("k{n}"), &["a"]).await;
        shops[1].pay(&order).await;
        if n % 2 == 0 {
            shops[0].fulfil(&order).await;
        }
    }
    let counts = relays.join_all().await;
    assert!(counts.iter().filter(|count| **count > 0).count() > 1, "the work is shared: {counts:?}");
    let ledger = ledger.lock().expect("whole");
    for (order, sequences) in &ledger.sent {
        let expected: Vec<u64> = (1..).take(sequences.len()).collect();
        assert_eq!(*sequences, expected, "{order}");
    }
}

/// Claims and sends until all events of all orders are sent; returns the number of messages it sent.
async fn run_relay(relay: usize, shop: &TestMerchant, ledger: &Mutex<Ledger>) -> usize {
    let (name, lease, mut count) = (format!("relay {relay}"), Duration::from_mins(1), 0);
    let mut arrivals = shop.store.arrivals();
    loop {
        arrivals.borrow_and_update();
        let limit = u32::try_from(relay + 1).expect("small");
        let messages = shop.store.claim(&name, limit, lease, shop.ambient.now()).await.expect("claims");
        ledger.lock().expect("whole").take(relay, &messages);
        if messages.is_empty() {
            let sent: usize = ledger.lock().expect("whole").sent.values().map(Vec::len).sum();
            if sent == ORDERS * 3 + ORDERS / 2 {
                return count;
            }
            // When another relay holds the last messages, no wake-up follows; hence the timeout.
            drop(tokio::time::timeout(Duration::from_millis(200), arrivals.changed()).await);
            continue;
        }
        count += messages.len();
        tokio::task::yield_now().await;
        // Before the row is marked: afterwards another relay may claim the order's next message at once.
        ledger.lock().expect("whole").give(&messages);
        let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
        shop.store.mark_sent(&positions, shop.ambient.now()).await.expect("marks");
    }
}
