//! Cases of erasing a customer's personal data.

use std::sync::Arc;

use base::Timestamp;
use store::{
    OrderStore,
    customers::{Erased, Erasure, ErasureRecord},
    domain::{CustomerId, Order, OrderId, OrderStatus},
    order_view::OrderView,
    orders::MailRecord,
};

use super::OrdersFixture;

pub async fn erasing_a_customer_keeps_the_money_and_nothing_personal(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 10).await;
    let account = world.registered("ada@example.com").await;
    let (ada, eve) = (account.id, CustomerId::fresh(&world.time.ambient));
    let mine = [placed(&world, ada).await, placed(&world, ada).await];
    let other = placed(&world, eve).await;
    for id in [mine[0], other] {
        world.pay(id).await;
        world.fulfil(id).await;
    }
    world.cancel(mine[1]).await;
    let before = [world.read(mine[0]).await, world.read(mine[1]).await];
    let erased = erase(&world, ada, "customer").await;
    assert_eq!(erased.0, Erased::Done { orders: 2, has_more: false });
    for before in before {
        let after = world.read(before.id).await;
        assert!(after.customer.is_erased());
        let kept = Order {
            customer: after.customer.clone(),
            shipping_address: None,
            reference: None,
            token: None,
            ..before
        };
        assert_eq!(after, kept, "all else stays");
        let shown = OrderView::of_new(&after);
        assert!(shown.contains("\"customer\":null"), "{shown}");
        for event in world.events(after.id).await {
            let data = event.data.to_string();
            assert!(!data.contains("ada@example.com") && !data.contains("Lovelace"), "{data}");
            assert!(data.contains("total_minor") || data.contains("amount_minor"), "{data}");
        }
    }
    assert_eq!(world.account_of("ada@example.com").await, None);
    let untouched = world.read(other).await;
    assert_eq!(untouched.customer.email, "ada@example.com", "another customer's, under the same address");
    assert!(world.events(other).await[0].data.to_string().contains("ada@example.com"));
    let record = ErasureRecord { orders: 2, requested_by: "customer".to_owned(), erased_at: erased.1 };
    assert_eq!(world.store.erasure(world.merchant, ada).await.expect("reads"), Some(record));

    // Again, and of an order that ended later.
    let late = placed(&world, ada).await;
    world.fail(late).await;
    let (again, at) = erase(&world, ada, "ticket 17").await;
    assert_eq!(again, Erased::Done { orders: 1, has_more: false });
    let record = ErasureRecord { orders: 3, requested_by: "ticket 17".to_owned(), erased_at: at };
    assert_eq!(world.store.erasure(world.merchant, ada).await.expect("reads"), Some(record));
    let again = erase(&world, ada, "ticket 17").await.0;
    assert_eq!(again, Erased::Done { orders: 0, has_more: false });
}

pub async fn open_orders_keep_their_customer(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 10).await;
    let ada = world.registered("ada@example.com").await.id;
    let ids = [placed(&world, ada).await, placed(&world, ada).await, placed(&world, ada).await];
    world.pay(ids[0]).await;
    world.cancel(ids[1]).await;
    assert_eq!(erase(&world, ada, "customer").await.0, Erased::OrdersOpen { orders: 2 });
    for id in ids {
        assert!(!world.read(id).await.customer.is_erased());
    }
    assert!(world.account_of("ada@example.com").await.is_some(), "nothing changed");
    assert_eq!(world.store.erasure(world.merchant, ada).await.expect("reads"), None);
    world.fulfil(ids[0]).await;
    world.cancel(ids[2]).await;
    assert_eq!(erase(&world, ada, "customer").await.0, Erased::Done { orders: 3, has_more: false });
    // Orders go on: a refund, and the record of a mail, are as before.
    let refund = world.refund_id();
    world.refund(ids[0], refund, None).await;
    assert_eq!(world.read(ids[0]).await.status, OrderStatus::Refunded);
    let mail =
        MailRecord { template: "t".to_owned(), message_id: "<1>".to_owned(), sent_at: world.time.tick() };
    assert!(world.store.record_mail(ids[0].into(), mail).await.expect("records"));
    let events = world.events(ids[0]).await;
    assert!(events.iter().all(|event| !event.data.to_string().contains("ada@example.com")));
}

pub async fn a_foreign_or_unknown_customer_is_not_erased(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 10).await;
    let ada = world.registered("ada@example.com").await.id;
    let order = placed(&world, ada).await;
    world.cancel(order).await;
    let other = world.neighbour().await;
    assert_eq!(erase(&other, ada, "neighbour").await.0, Erased::NotFound);
    assert_eq!(other.store.erasure(other.merchant, ada).await.expect("reads"), None);
    assert!(!world.read(order).await.customer.is_erased());
    assert!(world.account_of("ada@example.com").await.is_some());
    let unknown = CustomerId::fresh(&world.time.ambient);
    assert_eq!(erase(&world, unknown, "customer").await.0, Erased::NotFound);
}

async fn placed(world: &OrdersFixture, account: CustomerId) -> OrderId {
    let mut order = world.new_order(&[("mug", 1)]);
    order.account = Some(account);
    let id = order.id;
    world.place(order).await;
    id
}

/// The answer, and the time of the request.
async fn erase(world: &OrdersFixture, customer: CustomerId, requested_by: &str) -> (Erased, Timestamp) {
    let (merchant, requested_by, at) = (world.merchant, requested_by.to_owned(), world.time.tick());
    let erasure = Erasure { merchant, customer, requested_by, at };
    (world.store.erase_customer(erasure).await.expect("answers"), at)
}
