//! Cases of lists of products: searches, filters, orders, pages and facets.

use std::sync::Arc;

use store::{
    OrderStore,
    catalog::{
        CATEGORY_PRODUCTS_MAX, Category, FACET_CATEGORIES_MAX, PriceFacet, PriceFilter, ProductCursor,
        ProductData, ProductFilter, ProductSort,
    },
    domain::{AMOUNT_MINOR_MAX, PageRequest},
    rules::search::CANDIDATES_MAX,
};

use super::OrdersFixture;

const SORTS: [ProductSort; 3] = [ProductSort::Sku, ProductSort::Price, ProductSort::PriceDescending];

pub async fn products_are_searched_by_words(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for (sku, name) in [
        ("a-1", "Blue Mug"),
        ("b-2", "Red mug 100% clay"),
        ("MUG-3", "Plate"),
        ("d_4", "Bowl"),
        ("e-5", "\u{c4}pfel, gr\u{fc}n"),
        ("f-6", "Stra\u{df}en-O\u{308}l \u{3a3}\u{39f}\u{3a6}\u{39f}\u{3a3}"),
        ("g-7", "\u{9752}\u{3044}\u{8336}\u{7897}"),
        ("h-8", "\u{643}\u{64f}\u{648}\u{628}"),
    ] {
        world.put(ProductData { name: name.to_owned(), ..OrdersFixture::data(sku, 100) }).await;
    }
    for (text, expected) in [
        ("mug", &["MUG-3", "a-1", "b-2"][..]),
        ("MU", &["MUG-3", "a-1", "b-2"]),
        ("mug blue", &["a-1"]),
        ("blue red", &[]),
        ("ug", &[]),
        ("mug-3", &["MUG-3"]),
        ("100", &["b-2"]),
        // The second part of a word.
        ("pfel", &["e-5"]),
        ("rassen", &["f-6"]),
        // Case, accents, normal forms.
        ("\u{e4}pfel", &["e-5"]),
        ("A\u{308}PFEL", &["e-5"]),
        ("apfel", &["e-5"]),
        ("GR\u{dc}N", &["e-5"]),
        ("STRASSEN \u{d6}L", &["f-6"]),
        ("\u{3c3}\u{3bf}\u{3c6}\u{3bf}\u{3c2}", &["f-6"]),
        // Any part of a text without blanks.
        ("\u{8336}\u{7897}", &["g-7"]),
        ("\u{7897}", &["g-7"]),
        ("\u{643}\u{648}\u{628}", &["h-8"]),
        // Text without letters and digits.
        ("%", &[]),
        ("_", &[]),
        ("\\ '", &[]),
    ] {
        let filter = ProductFilter { text: Some(text.to_owned()), ..ProductFilter::default() };
        assert_eq!(skus(&world, &filter, ProductSort::Sku).await, expected, "{text}");
        let facets = world.store.facets(world.merchant, &filter).await.expect("reads");
        assert_eq!(facets.products, expected.len() as u64, "{text}");
    }
}

pub async fn a_renamed_product_is_found_by_its_new_name_only(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for (name, blue, red) in [("Blue mug", 1, 0), ("Red mug", 0, 1), ("Red mug", 0, 1), ("Blue mug", 1, 0)] {
        world.put(ProductData { name: name.to_owned(), ..OrdersFixture::data("m", 100) }).await;
        for (text, expected) in [("blue", blue), ("red", red), ("mug", 1), ("m", 1)] {
            let filter = ProductFilter { text: Some(text.to_owned()), ..ProductFilter::default() };
            assert_eq!(skus(&world, &filter, ProductSort::Sku).await.len(), expected, "{text} in {name}");
        }
    }
}

/// More products than are read for one word: the list is then read in its order.
pub async fn a_frequent_word_finds_the_same_as_a_rare_one(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let count = usize::try_from(CANDIDATES_MAX).expect("fits") + 1;
    for n in 0..count {
        let name = format!("Frequent {}", if n.is_multiple_of(100) { "rare" } else { "thing" });
        let price_minor = i64::try_from(n % 7).expect("fits");
        world.put(ProductData { name, ..OrdersFixture::data(&format!("sku-{n:05}"), price_minor) }).await;
    }
    let price = Some(euros(0, AMOUNT_MINOR_MAX));
    let found_by =
        |text: &str| ProductFilter { text: Some(text.to_owned()), price, ..ProductFilter::default() };
    for sort in SORTS {
        let rare = pages(&world, &found_by("rare"), sort, 7).await;
        assert_eq!(rare.len(), count.div_ceil(100), "{sort:?}");
        // The longest word is the frequent one.
        assert_eq!(pages(&world, &found_by("rare frequent"), sort, 7).await, rare, "{sort:?}");
        let all = pages(&world, &found_by("frequent"), sort, 100).await;
        assert_eq!(all.len(), count, "{sort:?}");
        assert_eq!(all, pages(&world, &ProductFilter { price, ..ProductFilter::default() }, sort, 100).await);
    }
    let things = Category { slug: "things".to_owned(), products: CATEGORY_PRODUCTS_MAX.into() };
    let categories = world.store.categories(world.merchant).await.expect("reads");
    assert_eq!(categories, [things], "of so many products of a category not all are counted");
}

pub async fn products_are_filtered(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for (sku, category, price_minor, currency, on_hand) in [
        ("a", "mugs", 100, "EUR", 1),
        ("b", "mugs", 200, "EUR", 0),
        ("c", "mugs", 200, "USD", 1),
        ("d", "bowls", 200, "EUR", 1),
        ("e", "bowls", 300, "EUR", 2),
    ] {
        let (category, currency) = (category.to_owned(), currency.parse().expect("a currency"));
        world.put(ProductData { category, currency, ..OrdersFixture::data(sku, price_minor) }).await;
        world.inventory(sku, on_hand).await;
    }
    world.placed(&[("a", 1)]).await;
    let none = ProductFilter::default;
    let mugs = Some("mugs".to_owned());
    for (filter, expected) in [
        (none(), &["a", "b", "c", "d", "e"][..]),
        (ProductFilter { category: mugs.clone(), ..none() }, &["a", "b", "c"]),
        (ProductFilter { category: Some("nothing".to_owned()), ..none() }, &[]),
        (ProductFilter { price: Some(euros(0, AMOUNT_MINOR_MAX)), ..none() }, &["a", "b", "d", "e"]),
        (ProductFilter { price: Some(euros(200, 200)), ..none() }, &["b", "d"]),
        (ProductFilter { price: Some(euros(201, 199)), ..none() }, &[]),
        (ProductFilter { in_stock: true, ..none() }, &["c", "d", "e"]),
        (ProductFilter { category: mugs.clone(), price: Some(euros(150, 250)), ..none() }, &["b"]),
        (
            ProductFilter {
                category: mugs,
                price: Some(euros(0, 250)),
                in_stock: true,
                text: Some("the".to_owned()),
            },
            &[],
        ),
        (ProductFilter { in_stock: true, text: Some("the e".to_owned()), ..none() }, &["e"]),
    ] {
        for sort in SORTS {
            let mut found = skus(&world, &filter, sort).await;
            found.sort_unstable();
            assert_eq!(found, expected, "{filter:?} {sort:?}");
        }
        let facets = world.store.facets(world.merchant, &filter).await.expect("reads");
        assert_eq!(facets.products, expected.len() as u64, "{filter:?}");
    }
}

pub async fn products_are_paged_by_sku(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let expected: Vec<String> = (0..12).map(|i| format!("sku-{i:02}")).collect();
    for sku in expected.iter().rev() {
        world.put(OrdersFixture::data(sku, 100)).await;
    }
    for limit in [1, 5, 6, 12, 100] {
        let seen = pages(&world, &ProductFilter::default(), ProductSort::Sku, limit).await;
        assert_eq!(seen, expected, "pages of {limit}");
    }
    // Without a currency prices have no order.
    let seen = pages(&world, &ProductFilter::default(), ProductSort::PriceDescending, 5).await;
    assert_eq!(seen, expected);
}

pub async fn products_are_paged_by_price(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for n in 0..12_i64 {
        world.put(OrdersFixture::data(&format!("sku-{n:02}"), n % 4 * 100)).await;
    }
    let expected = |prices: &[i64]| {
        let at =
            |price: i64| (0..12_i64).filter(move |n| n % 4 * 100 == price).map(|n| format!("sku-{n:02}"));
        prices.iter().flat_map(|price| at(*price)).collect::<Vec<_>>()
    };
    for (range, prices) in [((0, AMOUNT_MINOR_MAX), &[0, 100, 200, 300][..]), ((100, 200), &[100, 200])] {
        for category in [None, Some("things".to_owned())] {
            let filter =
                ProductFilter { price: Some(euros(range.0, range.1)), category, ..ProductFilter::default() };
            for limit in [1, 4, 5, 100] {
                let mut wanted = expected(prices);
                assert_eq!(pages(&world, &filter, ProductSort::Price, limit).await, wanted, "{limit}");
                wanted.reverse();
                assert_eq!(
                    pages(&world, &filter, ProductSort::PriceDescending, limit).await,
                    wanted,
                    "{limit}"
                );
            }
        }
    }
    // A position outside of the range does not widen it.
    let filter = ProductFilter { price: Some(euros(100, 200)), ..ProductFilter::default() };
    for (sort, price_minor) in [(ProductSort::Price, 0), (ProductSort::PriceDescending, 300)] {
        let after = Some(ProductCursor { price_minor, sku: "sku-00".to_owned() });
        let page = PageRequest { limit: 100, after };
        let found = world.store.products(world.merchant, &filter, sort, page).await.expect("reads");
        assert_eq!(found.items.len(), 6, "{sort:?}");
    }
}

pub async fn pages_by_price_stay_right_while_products_change(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for n in 0..10 {
        world.put(OrdersFixture::data(&format!("sku-{n}"), n * 100)).await;
    }
    let filter = ProductFilter { price: Some(euros(0, AMOUNT_MINOR_MAX)), ..ProductFilter::default() };
    let page = PageRequest { limit: 5, after: None };
    let first = world.store.products(world.merchant, &filter, ProductSort::Price, page).await.expect("reads");
    let last = first.items.last().expect("five");
    assert_eq!((last.sku.as_str(), first.has_more), ("sku-4", true));
    // The last one of the page gets dearer than all others, the first one leaves, and a new one comes in front.
    world.put(OrdersFixture::data("sku-4", 5_000)).await;
    let dollars = "USD".parse().expect("a currency");
    world.put(ProductData { currency: dollars, ..OrdersFixture::data("sku-0", 0) }).await;
    world.put(OrdersFixture::data("new", 50)).await;
    let page = PageRequest { limit: 100, after: Some(ProductCursor::after(last, ProductSort::Price)) };
    let rest = world.store.products(world.merchant, &filter, ProductSort::Price, page).await.expect("reads");
    let seen: Vec<_> = rest.items.iter().map(|product| product.sku.as_str()).collect();
    assert_eq!(seen, ["sku-5", "sku-6", "sku-7", "sku-8", "sku-9", "sku-4"], "none is missed");
}

pub async fn facets_count_what_a_filter_finds(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let empty = world.store.facets(world.merchant, &ProductFilter::default()).await.expect("reads");
    assert_eq!((empty.products, empty.is_complete, empty.categories.len()), (0, true, 0));
    for (sku, category, price_minor, currency, on_hand) in [
        ("a", "plates", 100, "EUR", 1),
        ("b", "mugs", 200, "EUR", 0),
        ("c", "mugs", 50, "USD", 1),
        ("d", "bowls", 250, "EUR", 1),
    ] {
        let (category, currency) = (category.to_owned(), currency.parse().expect("a currency"));
        world.put(ProductData { category, currency, ..OrdersFixture::data(sku, price_minor) }).await;
        world.inventory(sku, on_hand).await;
    }
    let facets = world.store.facets(world.merchant, &ProductFilter::default()).await.expect("reads");
    let category = |slug: &str, products| Category { slug: slug.to_owned(), products };
    assert_eq!(facets.categories, [category("mugs", 2), category("bowls", 1), category("plates", 1)]);
    assert_eq!((facets.products, facets.in_stock, facets.is_complete), (4, 3, true));
    let price = |currency: &str, products, lowest_minor, highest_minor| {
        let currency = currency.parse().expect("a currency");
        PriceFacet { currency, products, lowest_minor, highest_minor }
    };
    assert_eq!(facets.prices, [price("EUR", 3, 100, 250), price("USD", 1, 50, 50)]);
    let filter = ProductFilter { category: Some("mugs".to_owned()), ..ProductFilter::default() };
    let facets = world.store.facets(world.merchant, &filter).await.expect("reads");
    assert_eq!((facets.products, facets.in_stock, facets.categories), (2, 1, vec![category("mugs", 2)]));
}

pub async fn facets_are_bounded(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for n in 0..=FACET_CATEGORIES_MAX {
        let category = format!("category-{n:03}");
        world.put(ProductData { category, ..OrdersFixture::data(&format!("sku-{n}"), 100) }).await;
    }
    let facets = world.store.facets(world.merchant, &ProductFilter::default()).await.expect("reads");
    assert_eq!(facets.categories.len(), FACET_CATEGORIES_MAX);
    assert_eq!(facets.categories[0].slug, "category-000");
    assert_eq!(facets.products, FACET_CATEGORIES_MAX as u64 + 1, "counted all the same");
}

fn euros(min_minor: i64, max_minor: i64) -> PriceFilter {
    PriceFilter { currency: "EUR".parse().expect("a currency"), min_minor, max_minor }
}

/// The skus of the first 100 products.
async fn skus(world: &OrdersFixture, filter: &ProductFilter, sort: ProductSort) -> Vec<String> {
    let page = PageRequest { limit: 100, after: None };
    let found = world.store.products(world.merchant, filter, sort, page).await.expect("reads");
    assert!(!found.has_more);
    found.items.into_iter().map(|product| product.sku).collect()
}

/// The skus of all pages.
async fn pages(world: &OrdersFixture, filter: &ProductFilter, sort: ProductSort, limit: u32) -> Vec<String> {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit, after };
        let found = world.store.products(world.merchant, filter, sort, page).await.expect("reads");
        after = found.items.last().map(|product| ProductCursor::after(product, sort));
        seen.extend(found.items.into_iter().map(|product| product.sku));
        if !found.has_more {
            return seen;
        }
    }
}
