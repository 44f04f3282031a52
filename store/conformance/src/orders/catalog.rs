//! Cases of products, stock and categories.

use std::sync::Arc;

use store::{
    OrderStore,
    catalog::{Category, InventoryPut, Product, ProductData, ProductFilter},
    domain::{Event, EventKind, PageRequest},
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

pub async fn products_are_filtered(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for (sku, name, category) in [
        ("a-1", "Blue Mug", "mugs"),
        ("b-2", "Red mug 100% clay", "mugs"),
        ("MUG-3", "Plate", "plates"),
        ("d_4", "Bowl", "bowls"),
        ("e-5", "\u{c4}pfel, gr\u{fc}n", "fruit"),
        ("f-6", "Stra\u{df}en-O\u{308}l \u{3a3}\u{39f}\u{3a6}\u{39f}\u{3a3}", "oil"),
    ] {
        let (name, category) = (name.to_owned(), category.to_owned());
        world.put(ProductData { name, category, ..OrdersFixture::data(sku, 100) }).await;
    }
    for (category, text, expected) in [
        (None, None, &["MUG-3", "a-1", "b-2", "d_4", "e-5", "f-6"][..]),
        // All letters, in either case and either composition.
        (None, Some("\u{e4}pfel"), &["e-5"]),
        (None, Some("GR\u{dc}N"), &["e-5"]),
        (None, Some("A\u{308}pfel"), &["e-5"]),
        (None, Some("STRASSEN-\u{d6}L"), &["f-6"]),
        (None, Some("\u{3c3}\u{3bf}\u{3c6}\u{3bf}\u{3c2}"), &["f-6"]),
        (None, Some("apfel"), &[]),
        (Some("mugs"), None, &["a-1", "b-2"]),
        (None, Some("mug"), &["MUG-3", "a-1", "b-2"]),
        (None, Some("MUG"), &["MUG-3", "a-1", "b-2"]),
        (Some("mugs"), Some("red"), &["b-2"]),
        // Wildcards in the text are literal.
        (None, Some("%"), &["b-2"]),
        (None, Some("_"), &["d_4"]),
        (None, Some("0%"), &["b-2"]),
        (None, Some("\\"), &[]),
        (None, Some("'"), &[]),
        (Some("nothing"), None, &[]),
    ] {
        let filter = ProductFilter { category: category.map(str::to_owned), text: text.map(str::to_owned) };
        let page = PageRequest { limit: 100, after: None };
        let found = world.store.products(world.merchant, &filter, page).await.expect("reads");
        let skus: Vec<&str> = found.items.iter().map(|product| product.sku.as_str()).collect();
        assert_eq!(skus, expected, "{filter:?}");
        assert!(!found.has_more);
    }
}

pub async fn products_are_paged_by_sku(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let skus: Vec<String> = (0..12).map(|i| format!("sku-{i:02}")).collect();
    for sku in skus.iter().rev() {
        world.put(OrdersFixture::data(sku, 100)).await;
    }
    for (limit, pages) in [(5, 3), (6, 2), (12, 1), (100, 1)] {
        let (mut seen, mut count) = (Vec::new(), 0);
        loop {
            let page = PageRequest { limit, after: seen.last().cloned() };
            let found =
                world.store.products(world.merchant, &ProductFilter::default(), page).await.expect("reads");
            count += 1;
            seen.extend(found.items.into_iter().map(|product| product.sku));
            if !found.has_more {
                break;
            }
        }
        assert_eq!((&seen, count), (&skus, pages), "pages of {limit}");
    }
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
