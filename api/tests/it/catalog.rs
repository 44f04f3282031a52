//! Catalog: products, categories, stock, and their cache.

use std::time::Duration;

use cache::Cache;
use serde_json::json;
use store::catalog::Catalog;
use tokio::time::Instant;

use crate::util::TestApi;

#[tokio::test]
async fn a_product_is_created_replaced_and_read() {
    let shop = TestApi::open().await;
    let body = json!({
        "sku": "mug", "name": "Mug", "description": "Blue.\nHolds tea.", "category": "mugs", "price_minor": 250,
        "currency": "EUR", "low_stock_at": 2,
    });
    let created = shop.put("/v1/products/mug", &body).send().await.expect_status(201).json;
    assert_eq!(created["object"], "product");
    assert_eq!(created["available"], 0);
    let body = json!({"name": "Big mug", "category": "mugs", "price_minor": 300, "currency": "EUR"});
    shop.put("/v1/products/mug", &body).send().await.expect_status(200);
    let read = shop.get("/v1/products/mug").key(&shop.own.public).send().await.expect_status(200).json;
    assert_eq!(
        (read["name"].as_str(), read["price_minor"].as_i64(), read["description"].as_str()),
        (Some("Big mug"), Some(300), None)
    );
    let stock = shop.put("/v1/inventory/mug", &json!({"on_hand": 7})).send().await.expect_status(200).json;
    assert_eq!((stock["on_hand"].as_i64(), stock["available"].as_i64()), (Some(7), Some(7)));
    let stock = shop.get("/v1/inventory/mug").send().await.expect_status(200).json;
    assert_eq!(stock["object"], "inventory");
    assert_eq!(stock["on_hand"], 7);
}

#[tokio::test]
async fn lists_page_and_filter() {
    let shop = TestApi::open().await;
    for sku in ["a-mug", "b-mug", "c-cup"] {
        shop.stock(sku, 1).await;
    }
    let first = shop.get("/v1/products?limit=2&category=mugs").send().await.expect_status(200);
    assert_eq!(first.json["has_more"], true);
    assert_eq!(first.list()[1]["sku"], "b-mug");
    let rest = shop.get("/v1/products?limit=2&starting_after=b-mug").send().await.expect_status(200);
    assert_eq!((rest.list().len(), rest.json["has_more"].as_bool()), (1, Some(false)));
    let found = shop.get("/v1/products?q=CUP").send().await.expect_status(200);
    assert_eq!(found.list()[0]["sku"], "c-cup");
    let categories = shop.get("/v1/categories").send().await.expect_status(200);
    assert_eq!(categories.list(), &vec![json!({"object": "category", "slug": "mugs", "products": 3})]);
    for (query, fault) in [
        ("limit=0", "?limit out_of_range"),
        ("limit=101", "?limit out_of_range"),
        ("limit=x", "?limit wrong_format"),
        ("limit=1&limit=2", "?limit repeated_parameter"),
        ("offset=3", "?offset unknown_parameter"),
    ] {
        let answer = shop.get(&format!("/v1/products?{query}")).send().await;
        assert_eq!(answer.expect_problem(422, "validation_failed").faults(), [fault]);
    }
}

/// No store is asked with text that one of them cannot take, such as U+0000 in PostgreSQL.
#[tokio::test]
async fn parameters_of_lists_are_bounded_text() {
    let shop = TestApi::open().await;
    shop.stock("mug", 1).await;
    let lists = [
        (
            "/v1/products",
            &[
                "limit",
                "starting_after",
                "q",
                "category",
                "currency",
                "price_min",
                "price_max",
                "in_stock",
                "sort",
            ][..],
        ),
        ("/v1/orders", &["limit", "starting_after", "status"]),
        ("/v1/events", &["limit", "starting_after"]),
        ("/v1/webhook_endpoints", &["limit", "starting_after"]),
    ];
    let huge = "9".repeat(4_000);
    for (path, names) in lists {
        for name in names {
            for value in ["%00", "a%00", "%ff%fe", "%c0%80", "%ed%a0%80", "a%0ab", "%7f", huge.as_str()] {
                let answer = shop.get(&format!("{path}?{name}={value}")).send().await;
                let faults = answer.expect_problem(422, "validation_failed").faults();
                assert_eq!(faults, [format!("?{name} wrong_format")], "{value:.20}");
            }
            let answer = shop.get(&format!("{path}?{name}=%00&{name}=1")).send().await;
            answer.expect_problem(422, "validation_failed");
        }
        for value in ["-1", "", "1.0", "0x10", "99999999999999999999", "%D9%A3", "NaN"] {
            let answer = shop.get(&format!("{path}?limit={value}")).send().await;
            answer.expect_problem(422, "validation_failed");
        }
    }
    // Cursors of another kind or merchant tell nothing.
    let event = shop.get("/v1/events").send().await.expect_status(200).list()[0]["id"].clone();
    let event = event.as_str().expect("an id");
    for path in ["/v1/orders", "/v1/webhook_endpoints"] {
        let answer = shop.get(&format!("{path}?starting_after={event}")).send().await;
        assert_eq!(
            answer.expect_problem(422, "validation_failed").faults(),
            ["?starting_after wrong_format"]
        );
    }
    let elsewhere =
        shop.get(&format!("/v1/events?starting_after={event}")).key(&shop.other.secret).send().await;
    assert!(elsewhere.expect_status(200).list().is_empty());
}

#[tokio::test]
async fn products_are_found_in_any_case_accent_and_composition() {
    let shop = TestApi::open().await;
    let body =
        json!({"name": "\u{c4}pfel, gr\u{fc}n", "category": "fruit", "price_minor": 1, "currency": "EUR"});
    shop.put("/v1/products/apple", &body).send().await.expect_status(201);
    for (query, expected) in [
        ("%C3%A4pfel", 1),
        ("GR%C3%9CN", 1),
        ("A%CC%88PFEL", 1),
        ("APPLE", 1),
        ("apfel", 1),
        ("pfel", 1),
        ("el", 0),
    ] {
        let found = shop.get(&format!("/v1/products?q={query}")).send().await.expect_status(200);
        assert_eq!(found.list().len(), expected, "{query}");
    }
}

#[tokio::test]
async fn products_are_listed_by_price_and_counted() {
    let shop = TestApi::open().await;
    for (sku, price, currency) in [("a", 300, "EUR"), ("b", 100, "EUR"), ("c", 100, "EUR"), ("d", 5, "USD")] {
        let body = json!({"name": "Cup", "category": "cups", "price_minor": price, "currency": currency});
        shop.put(&format!("/v1/products/{sku}"), &body).send().await.expect_status(201);
    }
    shop.put("/v1/inventory/a", &json!({"on_hand": 1})).send().await.expect_status(200);
    for (query, expected) in [
        ("sort=price&currency=EUR", "b c a"),
        ("sort=price&currency=EUR&limit=1&starting_after=100:b", "c"),
        ("sort=-price&currency=EUR", "a c b"),
        ("sort=-price&currency=EUR&starting_after=300:a", "c b"),
        ("currency=EUR&price_max=100", "b c"),
        ("currency=EUR&price_min=101&q=cup", "a"),
        ("currency=USD", "d"),
        ("in_stock=true", "a"),
        ("in_stock=false&sort=sku", "a b c d"),
        ("q=", "a b c d"),
    ] {
        let found = shop.get(&format!("/v1/products?{query}")).send().await.expect_status(200);
        let skus: Vec<_> = found.list().iter().filter_map(|product| product["sku"].as_str()).collect();
        assert_eq!(skus.join(" "), expected, "{query}");
    }
    for (query, fault) in [
        ("sort=price", "?currency required"),
        ("price_min=1", "?currency required"),
        ("price_max=-1", "?price_max wrong_format"),
        ("currency=eur", "?currency wrong_format"),
        ("currency=EUR&sort=name", "?sort wrong_format"),
        ("currency=EUR&sort=price&starting_after=mug", "?starting_after wrong_format"),
        ("in_stock=1", "?in_stock wrong_format"),
    ] {
        let answer = shop.get(&format!("/v1/products?{query}")).send().await;
        assert_eq!(answer.expect_problem(422, "validation_failed").faults(), [fault], "{query}");
    }
    let facets = shop.get("/v1/product_facets?q=cup").key(&shop.own.public).send().await.expect_status(200);
    let prices = json!([
        {"currency": "EUR", "products": 3, "lowest_minor": 100, "highest_minor": 300},
        {"currency": "USD", "products": 1, "lowest_minor": 5, "highest_minor": 5},
    ]);
    let expected = json!({
        "object": "product_facets", "products": 4, "in_stock": 1, "is_complete": true, "prices": prices,
        "categories": [{"object": "category", "slug": "cups", "products": 4}],
    });
    assert_eq!(facets.json, expected);
    let answer = shop.get("/v1/product_facets?limit=1").send().await;
    assert_eq!(answer.expect_problem(422, "validation_failed").faults(), ["?limit unknown_parameter"]);
}

#[tokio::test]
async fn stock_stays_above_what_is_promised() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    shop.order("k1").await;
    let call = shop.put("/v1/inventory/mug", &json!({"on_hand": 1}));
    call.send().await.expect_problem(409, "below_reserved");
    shop.put("/v1/inventory/mug", &json!({"on_hand": 2})).send().await.expect_status(200);
    shop.put("/v1/inventory/none", &json!({"on_hand": 2})).send().await.expect_problem(404, "not_found");
    shop.get("/v1/products/no%20sku").send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn every_fault_of_a_product_is_told() {
    let shop = TestApi::open().await;
    let body =
        json!({"name": "", "category": "Not a slug", "price_minor": -1, "currency": "eur", "price": 1});
    let answer = shop.put("/v1/products/mug", &body).send().await.expect_problem(422, "validation_failed");
    assert_eq!(
        answer.faults(),
        [
            "/category wrong_format",
            "/currency wrong_format",
            "/name wrong_length",
            "/price unknown_field",
            "/price_minor out_of_range"
        ]
    );
    let body = json!({"sku": "cup", "name": "n", "category": "c", "price_minor": 1, "currency": "EUR"});
    let answer = shop.put("/v1/products/mug", &body).send().await.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), ["/sku mismatch"]);
    shop.get("/v1/products/mug").send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn reads_are_kept_for_a_moment_and_own_writes_are_seen_at_once() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let paths = ["/v1/products/mug", "/v1/products?category=mugs", "/v1/categories"];
    let read = async || {
        let mut answers = Vec::new();
        for path in paths {
            answers.push(shop.get(path).send().await.expect_status(200).json);
        }
        answers
    };
    let before = read().await;
    // A cached read stays for a moment. The moment may pass between two reads, so this retries.
    let deadline = Instant::now() + Duration::from_secs(10);
    let hits = shop.cache.stats().local_hits;
    while shop.cache.stats().local_hits < hits + 4 {
        assert!(Instant::now() < deadline, "nothing is kept");
        assert_eq!(read().await, before);
    }
    // Past the API: stock counts are never read from the cache.
    shop.orders.put_inventory(shop.own.id, "mug", 7, shop.ambient.now(), None).await.expect("sets");
    assert_eq!(shop.get("/v1/inventory/mug").send().await.json["on_hand"], 7, "not kept");
    // Through the API: at once, in every response that shows the product.
    let product = json!({"name": "Big mug", "category": "big", "price_minor": 300, "currency": "EUR"});
    shop.put("/v1/products/mug", &product).send().await.expect_status(200);
    let [one, of_old_category, categories] = &read().await[..] else { panic!("three reads") };
    assert_eq!((one["name"].as_str(), one["available"].as_i64()), (Some("Big mug"), Some(7)));
    assert_eq!(of_old_category["data"], json!([]));
    assert_eq!(categories["data"], json!([{"object": "category", "slug": "big", "products": 1}]));
    shop.put("/v1/inventory/mug", &json!({"on_hand": 5})).send().await.expect_status(200);
    let list = shop.get("/v1/products?category=big").send().await;
    assert_eq!(list.list()[0]["available"], 5);
    assert_eq!(shop.get("/v1/products/mug").send().await.json["available"], 5);
    // A cached absence is invalidated, too.
    shop.get("/v1/products/new").send().await.expect_problem(404, "not_found");
    shop.stock("new", 1).await;
    shop.get("/v1/products/new").send().await.expect_status(200);
}

#[tokio::test]
async fn cached_reads_of_one_merchant_never_answer_another() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    for path in ["/v1/products?limit=5", "/v1/categories"] {
        assert_eq!(shop.get(path).send().await.expect_status(200).list().len(), 1);
        assert!(shop.get(path).key(&shop.other.secret).send().await.expect_status(200).list().is_empty());
    }
    shop.get("/v1/products/mug").send().await.expect_status(200);
    shop.get("/v1/products/mug").key(&shop.other.secret).send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn what_an_order_takes_shows_within_a_moment() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    assert_eq!(shop.get("/v1/products/mug").send().await.json["available"], 10);
    shop.order("k1").await;
    let deadline = Instant::now() + Duration::from_secs(5);
    // The change is not announced over HTTP, so this polls.
    while shop.get("/v1/products/mug").send().await.json["available"] != 8 {
        assert!(Instant::now() < deadline, "the cache never lets go");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
