//! Cases of placing an order: all or nothing, once per key.

use std::sync::Arc;

use base::time::later;
use store::{
    OrderStore,
    catalog::ProductData,
    domain::{AMOUNT_MINOR_MAX, Adjustment, AdjustmentKind, EventKind, OrderStatus, PageRequest, Pricing},
    order_view::OrderView,
    orders::{IDEMPOTENCY_KEEP, IdempotencyKey, NewOrder, OrderFilter, PlaceOutcome, Refusal},
    outbox::OutboxBody,
};

use super::{OrdersFixture, fixture::HUGE_MINOR};
use crate::race;

pub async fn placing_writes_everything(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 10).await;
    world.product("cup", 99, 10).await;
    world.drain().await;
    let new = world.new_order(&[("mug", 4), ("cup", 1)]);
    let PlaceOutcome::Placed { order, body } = world.place(new.clone()).await else { panic!("not placed") };

    assert_eq!(body, OrderView::of_new(&order));
    assert_eq!((order.id, order.merchant, order.status), (new.id, new.merchant, OrderStatus::Pending));
    assert_eq!((order.total_minor, order.refunded_minor, order.currency), (1099, 0, new.currency));
    let lines: Vec<_> = order
        .lines
        .iter()
        .map(|l| (l.sku.as_str(), l.name.as_str(), l.quantity, l.price_minor, l.total_minor))
        .collect();
    assert_eq!(lines, [("mug", "The mug", 4, 250, 1000), ("cup", "The cup", 1, 99, 99)]);
    assert_eq!((&order.customer, &order.payment_method), (&new.customer, &new.payment_method));
    assert_eq!((order.account, order.token), (new.account, new.token));
    assert!(order.account.is_some() && order.token.is_some());
    assert_eq!((&order.shipping_address, &order.reference), (&new.shipping_address, &new.reference));
    assert_eq!((&order.trace, order.created_at, order.updated_at), (&new.trace, new.at, new.at));
    assert_eq!((order.event_sequence, &order.shipment, &order.status_reason), (1, &None, &None));
    assert_eq!(world.read(new.id).await, *order);
    assert_eq!(world.store.order(world.merchant, new.id).await.expect("reads"), Some(*order));

    assert_eq!((world.stock("mug").await, world.stock("cup").await), ((10, 4), (10, 1)));
    let events = world.events(new.id).await;
    assert_eq!(world.kinds(new.id).await, [EventKind::OrderPlaced]);
    assert_eq!((events[0].merchant, events[0].order, events[0].at), (new.merchant, Some(new.id), new.at));
    assert_eq!(events[0].trace, new.trace);
    let sent: Vec<_> = world.drain().await.into_iter().map(|message| message.body).collect();
    assert!(sent.contains(&OutboxBody::Event(events[0].clone())), "{sent:?}");
}

pub async fn a_product_changed_meanwhile_leaves_placed_orders_as_they_were(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let (paid, cancelled) = (world.placed(&[("mug", 2)]).await, world.placed(&[("mug", 1)]).await);
    let currency = "USD".parse().expect("a currency");
    let changed = ProductData { name: "Cup".to_owned(), currency, ..OrdersFixture::data("mug", 999) };
    world.put(changed).await;
    for order in [&paid, &cancelled] {
        assert_eq!(
            world.read(order.id).await,
            *order,
            "its name, price and currency are those it was placed at"
        );
    }
    assert_eq!(world.stock("mug").await, (5, 3), "still promised");
    world.cancel(cancelled.id).await;
    assert_eq!(world.stock("mug").await, (5, 2));
}

pub async fn a_replay_answers_to_the_byte(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 1).await;
    let new = world.new_order(&[("mug", 1)]);
    let PlaceOutcome::Placed { body, .. } = world.place(new.clone()).await else { panic!("not placed") };
    world.pay(new.id).await;
    // The stock is used up, the order is paid, and the client sends a new id and time: the answer is the stored one.
    let again = NewOrder { idempotency: new.idempotency.clone(), ..world.new_order(&[("mug", 1)]) };
    let backlog = world.store.backlog().await.expect("reads");
    for _ in 0..2 {
        let replayed = world.place(again.clone()).await;
        assert_eq!(replayed, PlaceOutcome::Replayed { order: new.id, body: body.clone() });
    }
    assert_eq!(world.store.order_by_id(again.id).await.expect("reads"), None);
    assert_eq!(world.stock("mug").await, (1, 1));
    assert_eq!(world.store.backlog().await.expect("reads"), backlog);
}

pub async fn a_key_used_for_another_request_is_refused(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let new = world.new_order(&[("mug", 1)]);
    assert!(matches!(world.place(new.clone()).await, PlaceOutcome::Placed { .. }));
    let other = NewOrder {
        idempotency: IdempotencyKey { fingerprint: [2; 32], ..new.idempotency },
        ..world.new_order(&[("mug", 2)])
    };
    assert_eq!(world.place(other.clone()).await, PlaceOutcome::KeyReused { order: new.id });
    assert_eq!(world.store.order_by_id(other.id).await.expect("reads"), None);
    assert_eq!(world.stock("mug").await, (5, 1));
}

pub async fn keys_are_scoped_by_merchant(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let neighbour = world.neighbour().await;
    for shop in [&world, &neighbour] {
        shop.product("mug", 250, 5).await;
        let new = shop.new_order(&[("mug", 1)]);
        let idempotency =
            IdempotencyKey { key: "shared".to_owned(), fingerprint: shop.merchant_fingerprint() };
        let placed = shop.place(NewOrder { idempotency, ..new }).await;
        assert!(matches!(placed, PlaceOutcome::Placed { .. }), "{placed:?}");
    }
}

pub async fn the_same_key_at_once_places_one_order(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    let key = IdempotencyKey { key: "double-click".to_owned(), fingerprint: [3; 32] };
    let answers = race(50, |_| {
        let (world, idempotency) = (world.clone(), key.clone());
        let new = NewOrder { idempotency, ..world.new_order(&[("mug", 2)]) };
        async move { world.place(new).await }
    })
    .await;
    let placed: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            PlaceOutcome::Placed { order, body } => Some((order.id, body.clone())),
            _ => None,
        })
        .collect();
    let [(id, body)] = placed.as_slice() else { panic!("placed {} times", placed.len()) };
    for answer in &answers {
        match answer {
            PlaceOutcome::Placed { .. } | PlaceOutcome::InFlight => {}
            PlaceOutcome::Replayed { order, body: replayed } => assert_eq!((order, replayed), (id, body)),
            other => panic!("unexpected {other:?}"),
        }
    }
    let page = PageRequest { limit: 100, after: None };
    let orders = world.store.orders(world.merchant, OrderFilter::default(), page).await.expect("reads");
    assert_eq!(orders.items.iter().map(|order| order.id).collect::<Vec<_>>(), [*id]);
    assert_eq!(world.stock("mug").await, (100, 2));
    assert_eq!(world.kinds(*id).await, [EventKind::OrderPlaced]);
}

pub async fn refusals_name_every_line_and_write_nothing(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let dollars = "USD".parse().expect("a currency");
    world.product("mug", 250, 5).await;
    world.product("rare", 250, 2).await;
    world.put(ProductData { currency: dollars, ..OrdersFixture::data("import", 250) }).await;
    world.inventory("import", 5).await;
    world.drain().await;
    let lines = [("mug", 1), ("nothing", 1), ("rare", 3), ("import", 1)];
    let new = world.new_order(&lines);
    let PlaceOutcome::Refused(mut refusals) = world.place(new.clone()).await else { panic!("not refused") };
    refusals.sort_by_key(|refusal| format!("{refusal:?}"));
    assert_eq!(
        refusals,
        [
            Refusal::OutOfStock { line: 2, available: 2 },
            Refusal::UnknownSku { line: 1 },
            Refusal::WrongCurrency { line: 3, expected: dollars },
        ]
    );
    assert_eq!(world.store.order_by_id(new.id).await.expect("reads"), None);
    assert!(world.events(new.id).await.is_empty());
    assert!(world.drain().await.is_empty(), "nothing is told");
    for sku in ["mug", "rare", "import"] {
        assert_eq!(world.stock(sku).await.1, 0, "{sku} is reserved");
    }
    // The key is still free, for this request and for another.
    let corrected = NewOrder {
        idempotency: IdempotencyKey { fingerprint: [9; 32], ..new.idempotency },
        ..world.new_order(&[("mug", 1)])
    };
    assert!(matches!(world.place(corrected).await, PlaceOutcome::Placed { .. }));
}

pub async fn a_total_too_large_is_refused(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("yacht", HUGE_MINOR, 1_000_000_000).await;
    world.product("mug", 250, 5).await;
    for lines in [&[("yacht", 2)][..], &[("yacht", 1), ("mug", 1)], &[("yacht", 999_999_999)]] {
        let refused = world.place(world.new_order(lines)).await;
        assert_eq!(refused, PlaceOutcome::Refused(vec![Refusal::TotalTooLarge]), "{lines:?}");
    }
    assert_eq!((world.stock("yacht").await.1, world.stock("mug").await.1), (0, 0));
    assert_eq!(world.placed(&[("yacht", 1)]).await.total_minor, HUGE_MINOR);
}

pub async fn expired_keys_may_be_used_again(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let mut used = Vec::new();
    for _ in 0..3 {
        let new = world.new_order(&[("mug", 1)]);
        assert!(matches!(world.place(new.clone()).await, PlaceOutcome::Placed { .. }));
        used.push(new.idempotency);
    }
    world.time.pass(IDEMPOTENCY_KEEP);
    let young = world.new_order(&[("mug", 1)]);
    world.place(young.clone()).await;
    let now = world.time.tick();
    let expire = |limit| world.store.expire_idempotency(now, limit);
    assert_eq!(expire(2).await.expect("expires"), 2);
    assert_eq!(expire(100).await.expect("expires"), 1);
    assert_eq!(expire(100).await.expect("expires"), 0);
    for idempotency in used {
        let new = NewOrder { idempotency, ..world.new_order(&[("mug", 1)]) };
        assert!(matches!(world.place(new).await, PlaceOutcome::Placed { .. }));
    }
    let replayed = world.place(young.clone()).await;
    assert!(matches!(replayed, PlaceOutcome::Replayed { order, .. } if order == young.id), "{replayed:?}");
}

/// Whether it rose or fell, and without using up the key.
pub async fn another_total_than_the_expected_one_is_refused(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let agreed = NewOrder { expected_total_minor: Some(500), ..world.new_order(&[("mug", 2)]) };
    for price_minor in [251, 249, 0] {
        world.product("mug", price_minor, 50).await;
        let refused = PlaceOutcome::Refused(vec![Refusal::PriceChanged { total_minor: 2 * price_minor }]);
        assert_eq!(world.place(agreed.clone()).await, refused);
        let read = world.store.order_by_id(agreed.id).await.expect("reads");
        assert_eq!((world.stock("mug").await, read), ((50, 0), None), "nothing is written");
    }
    world.product("mug", 250, 50).await;
    assert!(matches!(world.place(agreed.clone()).await, PlaceOutcome::Placed { .. }));
    world.product("mug", 900, 50).await;
    let again = world.place(agreed.clone()).await;
    assert!(matches!(again, PlaceOutcome::Replayed { order, .. } if order == agreed.id), "{again:?}");
}

pub async fn adjustments_are_kept_with_the_order_and_in_its_total(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let adjustment =
        |kind, label: &str, amount_minor| Adjustment { kind, label: label.to_owned(), amount_minor };
    let adjustments = vec![
        adjustment(AdjustmentKind::Discount, "Ten percent", -50),
        adjustment(AdjustmentKind::Shipping, "Parcel", 490),
        adjustment(AdjustmentKind::Tax, "VAT 19 %", 179),
    ];
    let pricing = Pricing { subtotal_minor: 500, adjustments: adjustments.clone() };
    let expected_total_minor = Some(1119);
    let new = NewOrder { pricing: Some(pricing), expected_total_minor, ..world.new_order(&[("mug", 2)]) };
    let PlaceOutcome::Placed { order, body } = world.place(new.clone()).await else { panic!("not placed") };
    assert_eq!((order.total_minor, &order.adjustments), (1119, &adjustments));
    let stored = world.read(new.id).await;
    assert_eq!((stored.total_minor, &stored.adjustments), (1119, &adjustments));
    assert_eq!(OrderView::of_new(&stored), body);
    let told = world.events(new.id).await;
    assert_eq!(told[0].data["adjustments"][1]["amount_minor"], 490);
    world.pay(new.id).await;
    assert_eq!(world.read(new.id).await.adjustments, adjustments, "whatever becomes of the order");
}

pub async fn a_repetition_is_known_before_it_is_made(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let new = world.new_order(&[("mug", 1)]);
    let answered = |key: IdempotencyKey| {
        let world = world.clone();
        async move { world.store.answered(world.merchant, &key).await.expect("reads") }
    };
    assert_eq!(answered(new.idempotency.clone()).await, None);
    let PlaceOutcome::Placed { body, .. } = world.place(new.clone()).await else { panic!("not placed") };
    let replayed = PlaceOutcome::Replayed { order: new.id, body };
    assert_eq!(answered(new.idempotency.clone()).await, Some(replayed));
    let other = IdempotencyKey { fingerprint: [2; 32], ..new.idempotency.clone() };
    assert_eq!(answered(other).await, Some(PlaceOutcome::KeyReused { order: new.id }));
    let neighbour = world.neighbour().await.merchant;
    assert_eq!(world.store.answered(neighbour, &new.idempotency).await.expect("reads"), None);
}

/// Without using up the key.
pub async fn adjustments_of_other_prices_are_refused(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let priced = |subtotal_minor, amount_minor| {
        let shipping =
            Adjustment { kind: AdjustmentKind::Shipping, label: "Parcel".to_owned(), amount_minor };
        Some(Pricing { subtotal_minor, adjustments: vec![shipping] })
    };
    let new = world.new_order(&[("mug", 2)]);
    let moved = NewOrder { pricing: priced(499, 490), ..new.clone() };
    assert_eq!(world.place(moved).await, PlaceOutcome::Refused(vec![Refusal::Repriced]));
    let beyond = NewOrder { pricing: priced(500, AMOUNT_MINOR_MAX), ..new.clone() };
    assert_eq!(world.place(beyond).await, PlaceOutcome::Refused(vec![Refusal::TotalTooLarge]));
    assert_eq!(world.stock("mug").await, (50, 0), "nothing is written");
    let right = NewOrder { pricing: priced(500, 490), ..new };
    assert!(matches!(world.place(right).await, PlaceOutcome::Placed { .. }));
}

pub async fn a_clock_that_is_ahead_deletes_no_key_of_the_last_day(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let new = world.new_order(&[("mug", 1)]);
    world.place(new.clone()).await;
    let ahead = later(world.time.tick(), IDEMPOTENCY_KEEP * 300);
    assert_eq!(world.store.expire_idempotency(ahead, 100).await.expect("expires"), 0);
    let replayed = world.place(new.clone()).await;
    assert!(matches!(replayed, PlaceOutcome::Replayed { order, .. } if order == new.id), "{replayed:?}");
}

impl OrdersFixture {
    /// Distinct per merchant, unlike a real fingerprint, so that a match of the key across merchants fails the case.
    fn merchant_fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        fingerprint[..16].copy_from_slice(self.merchant.0.as_bytes());
        fingerprint
    }
}
