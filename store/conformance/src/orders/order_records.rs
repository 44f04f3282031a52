//! Cases of reading the records of many orders at once: they are those that the reads of one order give.

use std::{sync::Arc, time::Duration};

use store::{
    OrderStore,
    audit::{OrderRecords, RECORDS_MAX, Settlement},
    domain::{OrderId, OrderStatus},
    orders::MailRecord,
    webhooks::WebhookAttempt,
};

use super::OrdersFixture;
use crate::race;

pub async fn records_of_many_orders_are_those_of_each(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let other = world.neighbour().await;
    let mut ids = Vec::new();
    for world in [&world, &other] {
        world.product("mug", 250, 50).await;
        let endpoint = world.create().await.expect("there is room");
        for status in OrderStatus::ALL {
            let id = world.order_in(status).await.id;
            for template in ["order_placed", "order_confirmed"] {
                let mail = MailRecord {
                    template: template.to_owned(),
                    message_id: format!("<{template}.{id}>"),
                    sent_at: world.time.tick(),
                };
                assert!(world.store.record_mail(id.into(), mail).await.expect("records"));
            }
            let event = world.events(id).await[0].id;
            for (number, status) in [(2, None), (1, Some(503)), (3, Some(204))] {
                let attempt = WebhookAttempt {
                    order: Some(id),
                    attempt: number,
                    ..world.attempt(endpoint, event, status)
                };
                world.store.record_attempt(attempt).await.expect("records");
            }
            ids.push(id);
        }
        // Sent are the messages of the first merchant's orders up to here.
        world.drain().await;
        let paid = world.order_in(OrderStatus::Paid).await.id;
        for _ in 0..2 {
            let (merchant, refund, at) = (world.merchant, world.refund_id(), world.time.tick());
            world.store.request_refund(merchant, paid, refund, Some(100), at).await.expect("requests");
        }
        let settlement =
            Settlement { at: world.time.tick(), note: "by hand".to_owned(), violations: Vec::new() };
        assert!(world.store.settle(paid, &settlement).await.expect("settles"));
        ids.push(paid);
    }
    ids.reverse();
    let expected = each(&world, &ids).await;
    assert_eq!(expected.len(), ids.len());
    let commands = expected.iter().flat_map(|records| &records.money.refunds);
    assert!(commands.filter(|refund| refund.command.is_some()).count() >= 4, "requests have commands");
    ids.insert(3, OrderId::fresh(&world.time.ambient));
    let found = world.store.order_records(&ids).await.expect("reads").expect("they are few");
    assert_eq!(found, expected, "in the sequence of the ids, without the unknown one");
    assert_eq!(world.store.order_records(&[]).await.expect("reads"), Some(Vec::new()));
}

/// A store may refuse to read so much at once; what it reads is all.
pub async fn records_of_many_rows_are_all_or_refused(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let endpoint = world.create().await.expect("there is room");
    let ids = [world.placed(&[("mug", 1)]).await.id, world.placed(&[("mug", 1)]).await.id];
    for id in ids {
        let event = world.events(id).await[0].id;
        let begun = world.attempt(endpoint, event, None);
        let some = u32::try_from(RECORDS_MAX / 2 + 1).expect("few").div_ceil(24);
        for round in 0..24 {
            let recorded = race(some, |number| {
                let (world, attempt) = (world.clone(), round * some + number + 1);
                let attempt = WebhookAttempt { order: Some(id), attempt, ..begun.clone() };
                async move { world.store.record_attempt(attempt).await }
            });
            assert!(recorded.await.into_iter().all(|recorded| recorded.is_ok()));
        }
    }
    let expected = each(&world, &ids).await;
    let found = world.store.order_records(&ids).await.expect("reads");
    assert!(found.is_none_or(|found| found == expected), "a part of the rows");
    let one = world.store.order_records(&ids[..1]).await.expect("reads").expect("it has few enough");
    assert_eq!(one, expected[..1]);
}

pub async fn stored_orders_are_told_from_unknown_ones(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let other = world.neighbour().await;
    let mut stored = Vec::new();
    for world in [&world, &other] {
        world.product("mug", 250, 50).await;
        stored.push(world.order_in(OrderStatus::Fulfilled).await.id);
        stored.push(world.placed(&[("mug", 1)]).await.id);
    }
    world.time.pass(Duration::from_secs(1));
    let unknown = OrderId::fresh(&world.time.ambient);
    let asked = [&stored[..2], &[unknown], &stored[2..]].concat();
    let mut found = world.store.stored_orders(&asked).await.expect("reads");
    found.sort_unstable();
    stored.sort_unstable();
    assert_eq!(found, stored);
    assert_eq!(world.store.stored_orders(&[]).await.expect("reads"), []);
}

pub async fn states_of_many_orders_are_read_at_once(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let other = world.neighbour().await;
    let mut expected = Vec::new();
    for world in [&world, &other] {
        world.product("mug", 250, 50).await;
        for status in OrderStatus::ALL {
            expected.push((world.order_in(status).await.id, status));
        }
    }
    let mut asked: Vec<_> = expected.iter().map(|(id, _)| *id).collect();
    asked.push(OrderId::fresh(&world.time.ambient));
    let mut found = world.store.statuses(&asked).await.expect("reads");
    found.sort_unstable_by_key(|(id, _)| *id);
    expected.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(found, expected);
    assert_eq!(world.store.statuses(&[]).await.expect("reads"), []);
}

/// The records of these orders, read one by one.
async fn each(world: &OrdersFixture, ids: &[OrderId]) -> Vec<OrderRecords> {
    let mut all = Vec::new();
    for id in ids.iter().copied() {
        all.push(OrderRecords {
            order: world.read(id).await,
            money: world.store.order_money(id).await.expect("reads").expect("is stored"),
            mails: world.store.mails(id.into()).await.expect("reads"),
            events: world.events(id).await,
            attempts: world.store.attempts_of_order(id).await.expect("reads"),
        });
    }
    all
}
