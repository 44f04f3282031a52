//! Cases of products, stock and categories.

use std::sync::Arc;

use store::{
    OrderStore,
    catalog::{Category, InventoryPut, Product, ProductData},
    domain::{Event, EventKind},
};

use super::OrdersFixture;

pub async fn a_product_is_created_then_replaced(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let data = ProductData { description: Some("For tea".to_owned()), ..OrdersFixture::data("mug", 250) };
    let at = world.time.tick();
    let (product, new) = world.store.put_product(world.merchant, data.clone(), at).await.expect("puts");
    assert!(new);
    assert_eq!((product.on_hand, product.reserved, product.updated_at), (0, 0, at));
    assert_eq!(as_data(&product), data);
    world.inventory("mug", 9).await;
    world.placed(&[("mug", 2)]).await;

    let dollars = "USD".parse().expect("a currency");
    let data = ProductData {
        name: "Cup".to_owned(),
        category: "cups".to_owned(),
        price_minor: 1,
        currency: dollars,
        description: None,
        low_stock_at: 3,
        ..data
    };
    let at = world.time.tick();
    let (product, new) = world.store.put_product(world.merchant, data.clone(), at).await.expect("puts");
    assert!(!new);
    assert_eq!(as_data(&product), data);
    assert_eq!((product.on_hand, product.reserved, product.updated_at), (9, 2, at), "stock is untouched");
    assert_eq!(world.store.product(world.merchant, "mug").await.expect("reads"), Some(product));
    assert_eq!(world.store.product(world.merchant, "MUG").await.expect("reads"), None);
}

pub async fn inventory_is_set_and_told(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.put(OrdersFixture::data("mug", 250)).await;
    let trace = base::TraceContext::fresh(&world.time.ambient);
    let at = world.time.tick();
    let put =
        world.store.put_inventory(world.merchant, "mug", 7, at, Some(trace.clone())).await.expect("puts");
    let InventoryPut::Set(product) = put else { panic!("not set: {put:?}") };
    assert_eq!((product.on_hand, product.reserved, product.available()), (7, 0, 7));
    world.inventory("mug", 8).await;
    let events = world.merchant_events().await;
    let seen: Vec<_> = events.iter().map(|e| (e.kind, e.sequence, e.order)).collect();
    assert_eq!(seen, [(EventKind::InventoryUpdated, 1, None), (EventKind::InventoryUpdated, 2, None)]);
    assert_eq!(
        (events[0].trace.as_ref(), events[0].at, events[0].merchant),
        (Some(&trace), at, world.merchant)
    );
    assert!(events[0].data.to_string().contains("mug"), "{}", events[0].data);
    assert_eq!(world.inventory("nothing", 1).await, InventoryPut::NoSuchProduct);
    assert_eq!(world.drain().await.len(), 2);
}

pub async fn inventory_never_falls_below_reserved(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    world.placed(&[("mug", 3)]).await;
    world.drain().await;
    for on_hand in [2, 0] {
        assert_eq!(world.inventory("mug", on_hand).await, InventoryPut::BelowReserved { reserved: 3 });
    }
    assert_eq!(world.stock("mug").await, (5, 3));
    assert!(world.drain().await.is_empty(), "nothing is told");
    assert!(matches!(world.inventory("mug", 3).await, InventoryPut::Set(_)));
    assert_eq!(world.stock("mug").await, (3, 3));
}

pub async fn low_stock_is_told_when_crossed(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.put(ProductData { low_stock_at: 5, ..OrdersFixture::data("mug", 250) }).await;
    for (on_hand, told) in [(10, 0), (6, 0), (5, 1), (4, 1), (10, 1), (0, 2)] {
        world.inventory("mug", on_hand).await;
        assert_eq!(low_told(&world).await, told, "after {on_hand}");
    }
    let events = world.merchant_events().await;
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=8).collect::<Vec<_>>(), "one sequence per product over both kinds");
}

pub async fn low_stock_is_told_by_an_order(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.put(ProductData { low_stock_at: 5, ..OrdersFixture::data("mug", 250) }).await;
    world.inventory("mug", 8).await;
    world.placed(&[("mug", 2)]).await;
    assert_eq!(low_told(&world).await, 0);
    world.placed(&[("mug", 1)]).await;
    assert_eq!(low_told(&world).await, 1, "available fell to the threshold");
    world.placed(&[("mug", 1)]).await;
    assert_eq!(low_told(&world).await, 1, "told when crossed, not on every order below");
}

pub async fn categories_count_their_products(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    assert!(world.store.categories(world.merchant).await.expect("reads").is_empty());
    let in_category = |sku: &str, category: &str| ProductData {
        category: category.to_owned(),
        ..OrdersFixture::data(sku, 100)
    };
    for (sku, category) in [("a", "plates"), ("b", "mugs"), ("c", "mugs"), ("d", "bowls"), ("d", "mugs")] {
        world.put(in_category(sku, category)).await;
    }
    let found = world.store.categories(world.merchant).await.expect("reads");
    let category = |slug: &str, products| Category { slug: slug.to_owned(), products };
    assert_eq!(found, [category("mugs", 3), category("plates", 1)], "by slug, none empty");
}

async fn low_told(world: &OrdersFixture) -> usize {
    let is_low = |event: &Event| event.kind == EventKind::InventoryLow;
    world.merchant_events().await.iter().filter(|event| is_low(event)).count()
}

fn as_data(product: &Product) -> ProductData {
    let Product { sku, name, description, category, price_minor, currency, low_stock_at, .. } =
        product.clone();
    ProductData { sku, name, description, category, price_minor, currency, low_stock_at }
}
