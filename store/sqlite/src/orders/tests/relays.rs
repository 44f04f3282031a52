//! Tests of concurrent relays.

use std::time::Duration;

use store::{
    domain::PageRequest,
    orders::Orders,
    outbox::{Outbox, OutboxMessage, Position},
};

use super::{SqliteOrders, TestMerchant, capture};

fn positions(messages: &[OutboxMessage]) -> Vec<Position> {
    messages.iter().map(|message| message.position).collect()
}

#[tokio::test]
async fn a_subject_is_never_split_over_two_relays() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    shop.drain().await;
    let order = shop.place("k1", &[("a", 1)]).await;
    let other = shop.place("k2", &[("a", 1)]).await;
    let now = shop.ambient.now();
    let first = shop.claim("one", 1).await;
    assert_eq!(first.len(), 1);
    // Two more messages of the subject that relay "one" holds, and one of another subject.
    shop.store.mark_paid(order.id, capture(&order), now).await.expect("answers");
    let second = shop.claim("two", 100).await;
    assert_eq!(second.len(), 1);
    assert!(second[0].position > first[0].position);
    assert_eq!(shop.store.order_events(other.id, 0).await.expect("reads").len(), 1);
    // The claimed message again, with the later ones of its subject.
    let again = shop.claim("one", 100).await;
    assert_eq!(again.len(), 3);
    assert_eq!(again[0], first[0]);
    assert!(positions(&again).is_sorted());
    // Once the lease has expired, another relay may claim them.
    shop.clock.advance(Duration::from_secs(11));
    assert_eq!(shop.claim("two", 100).await.len(), 4);
    assert_eq!(shop.claim("one", 100).await, []);
}

#[tokio::test]
async fn sent_messages_stay_as_events_and_are_not_handed_out_again() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    shop.drain().await;
    let order = shop.paid("k", &[("a", 1)]).await;
    let mut arrivals = shop.store.arrivals();
    arrivals.mark_unchanged();
    let claimed = shop.claim("one", 100).await;
    shop.store.mark_sent(&positions(&claimed), shop.ambient.now()).await.expect("marks");
    assert_eq!(shop.claim("one", 100).await, []);
    assert_eq!(shop.store.backlog().await.expect("reads").messages, 0);
    assert_eq!(shop.store.order_events(order.id, 0).await.expect("reads").len(), 3);
    shop.store.fulfil(order.id, shop.ambient.now()).await.expect("answers");
    assert!(arrivals.has_changed().expect("open"));
}

#[tokio::test]
async fn events_of_one_millisecond_are_listed_in_the_order_of_their_commits() {
    let shop = TestMerchant::open().await;
    shop.product("a", 50, 0).await;
    for n in 0..5 {
        shop.paid(&format!("k{n}"), &[("a", 1)]).await;
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit: 4, after };
        let page = shop.store.events(shop.merchant, page).await.expect("reads");
        after = page.items.last().map(|event| event.id);
        listed.extend(page.items);
        if !page.has_more {
            break;
        }
    }
    // One for the stock, three for each order.
    assert_eq!(listed.len(), 16);
    for order in listed[..15].chunks(3) {
        assert_eq!(order.iter().map(|event| event.sequence).collect::<Vec<_>>(), [3, 2, 1]);
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    let order = shop.place("k", &[("a", 1)]).await;
    shop.store.database.close().await;
    let again = SqliteOrders::open(&shop.folder.path().join("orders.db"), shop.ambient.clone()).await;
    let found = again.expect("opens").order_by_id(order.id).await.expect("reads");
    assert_eq!(found, Some(order));
}
