//! Cached answers: validators, what caches are told, which writes make which answers invalid, and the last answer while
//! the store is away.

use std::time::Duration;

use api::{CachePolicies, PagePolicy, ServerLimits};
use serde_json::json;
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use tokio::time::Instant;

use crate::{
    customers::{registered, sign_in},
    util::{Answer, TestApi, config},
};

const PRODUCT: &str = "/v1/products/mug";
const PAGES: [&str; 5] = [
    PRODUCT,
    "/v1/products",
    "/v1/products?q=mug&limit=5",
    "/v1/categories",
    "/v1/product_facets?in_stock=true",
];

/// The names in a list of strings.
fn names<'a>(answer: &'a Answer, field: &str) -> Vec<&'a str> {
    answer.header(field).split(", ").map(|name| name.trim_matches('"')).collect()
}

#[tokio::test]
async fn an_answer_that_is_known_already_is_not_sent_again() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    for path in PAGES {
        let first = shop.get(path).key(&shop.own.public).send().await.expect_status(200);
        let tag = first.header("etag").to_owned();
        assert!(tag.len() == 34 && tag.starts_with('"'), "{path}: {tag}");
        let asked = |named: &str| shop.get(path).key(&shop.own.public).header("if-none-match", named).send();
        for named in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let unchanged = asked(&named).await.expect_status(304);
            assert_eq!((unchanged.text.as_str(), unchanged.header("etag")), ("", tag.as_str()), "{named}");
            for field in ["cache-control", "vary", "cache-groups"] {
                assert_eq!(unchanged.header(field), first.header(field), "{path}: {field}");
            }
        }
        assert_eq!(asked("\"other\"").await.expect_status(200).text, first.text);
        // The tag is that of the body: the same for the merchant's own servers.
        assert_eq!(shop.get(path).send().await.expect_status(200).header("etag"), tag);
    }
}

#[tokio::test]
async fn a_write_changes_the_validators_of_what_shows_it() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let mut tags = Vec::new();
    for path in PAGES {
        tags.push(shop.get(path).send().await.expect_status(200).header("etag").to_owned());
    }
    let body = json!({"name": "Mug of tin", "category": "tins", "price_minor": 300, "currency": "EUR"});
    shop.put(PRODUCT, &body).send().await.expect_status(200);
    for (path, tag) in PAGES.iter().zip(&tags) {
        let asked = shop.get(path).header("if-none-match", tag).send().await.expect_status(200);
        assert_ne!(asked.header("etag"), tag, "{path}");
    }
    // The same bytes have the same tag again.
    let before = json!({"name": "The mug", "category": "mugs", "price_minor": 250, "currency": "EUR"});
    shop.put(PRODUCT, &before).send().await.expect_status(200);
    shop.get("/v1/categories").header("if-none-match", &tags[3]).send().await.expect_status(304);
}

#[tokio::test]
async fn caches_are_told_how_long_for_whom_and_what_a_write_makes_invalid() {
    let page = |seconds| PagePolicy { fresh: Duration::from_secs(seconds), ..PagePolicy::default() };
    let cache = CachePolicies {
        product_page: page(1),
        list_page: page(2),
        search_page: PagePolicy { stale_while_revalidate: Duration::ZERO, ..page(3) },
        ..CachePolicies::default()
    };
    let shop = TestApi::open_with(api::ApiConfig { cache, ..config() }, ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    shop.stock("cup", 10).await;
    let put = shop.put("/v1/inventory/mug", &json!({"on_hand": 9})).send().await.expect_status(200);
    let invalidated = names(&put, "cache-group-invalidation");
    let [of_mug, of_lists] = &invalidated[..] else { panic!("{invalidated:?}") };
    for (path, told, group) in [
        (PAGES[0], "public, max-age=1, stale-while-revalidate=10, stale-if-error=300", of_mug),
        (PAGES[1], "public, max-age=2, stale-while-revalidate=10, stale-if-error=300", of_lists),
        (PAGES[2], "public, max-age=3, stale-while-revalidate=0, stale-if-error=300", of_lists),
        (PAGES[3], "public, max-age=2, stale-while-revalidate=10, stale-if-error=300", of_lists),
        (PAGES[4], "public, max-age=3, stale-while-revalidate=0, stale-if-error=300", of_lists),
    ] {
        let shown = shop.get(path).key(&shop.own.public).send().await.expect_status(200);
        assert_eq!((shown.header("cache-control"), shown.header("vary")), (told, "authorization"), "{path}");
        assert_eq!(names(&shown, "cache-groups"), [*group], "{path}");
        let own = shop.get(path).send().await.expect_status(200);
        assert_eq!(own.header("cache-control"), "private, no-cache", "{path}: a secret key is of one caller");
    }
    let cup = shop.get("/v1/products/cup").send().await.expect_status(200);
    assert!(!invalidated.contains(&names(&cup, "cache-groups")[0]), "another product stays valid");
    let theirs = shop.get(PAGES[1]).key(&shop.other.public).send().await.expect_status(200);
    assert!(!invalidated.contains(&names(&theirs, "cache-groups")[0]), "and so does another merchant's list");
    for path in ["/v1/products/none", "/v1/orders", "/v1/inventory/mug"] {
        let answer = shop.get(path).send().await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(answer.header("etag").is_empty() && answer.header("cache-groups").is_empty(), "{path}");
    }
}

/// An API that caches products for a tenth of a second, and the answer with its product.
async fn with_an_answer() -> (TestApi, Answer) {
    let cache = CachePolicies { product: Duration::from_millis(100), ..CachePolicies::default() };
    let shop = TestApi::open_with(api::ApiConfig { cache, ..config() }, ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let answer = shop.get(PRODUCT).key(&shop.own.public).send().await.expect_status(200);
    assert!(answer.header("age").is_empty());
    (shop, answer)
}

/// Reads the product until the answer is no cached one.
async fn asked_for(shop: &TestApi, last: &Answer) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(4);
    loop {
        let answer = shop.get(PRODUCT).key(&shop.own.public).send().await;
        if answer.status != 200 || !answer.header("age").is_empty() {
            return answer;
        }
        assert_eq!(answer.text, last.text);
        assert!(Instant::now() < deadline, "the store is never asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn while_the_store_is_away_the_last_answer_is_sent_with_its_age() {
    let (shop, last) = with_an_answer().await;
    // The key is known for five seconds more.
    shop.orders.close().await;
    let answer = asked_for(&shop, &last).await.expect_status(200);
    assert_eq!((&answer.text, answer.header("etag")), (&last.text, last.header("etag")));
    assert!(answer.header("age").parse::<u64>().is_ok_and(|age| age < 60), "{answer:?}");
    assert!(answer.header("cache-control").starts_with("public, max-age=1, "), "{answer:?}");
    // What was never shown is not to be had.
    let other = shop.get("/v1/products?limit=7").key(&shop.own.public).send().await;
    other.expect_problem(503, "temporarily_unavailable");
}

#[tokio::test]
async fn a_defect_of_the_store_is_not_hidden_by_the_last_answer() {
    let (shop, last) = with_an_answer().await;
    let file = SqliteConnectOptions::new().filename(shop.folder.path().join("orders.db"));
    let mut other = file.connect().await.expect("a second connection");
    other.execute("ALTER TABLE products RENAME TO products_away").await.expect("renames");
    asked_for(&shop, &last).await.expect_problem(500, "internal_error");
    other.execute("ALTER TABLE products_away RENAME TO products").await.expect("renames back");
    let again = shop.get(PRODUCT).key(&shop.own.public).send().await.expect_status(200);
    assert_eq!(again.text, last.text);
}

#[tokio::test]
async fn a_profile_is_cached_for_its_customer_and_gone_with_the_account() {
    let shop = TestApi::open().await;
    let body = json!({"email": "ada@example.com", "name": "Ada", "password": "canary correct horse"});
    registered(&shop, &body).await;
    let signed_in = sign_in(&shop, "ada@example.com", "canary correct horse").send().await;
    let signed_in = signed_in.expect_status(201).json;
    let (session, customer) = (signed_in["token"].as_str().expect("a token"), &signed_in["customer"]);
    let read = || shop.get("/v1/customers/current").header("orderworks-session", session).send();
    for _ in 0..3 {
        let shown = read().await.expect_status(200);
        assert_eq!((&shown.json, shown.header("cache-control")), (customer, "no-store"));
    }
    let call = shop.call(reqwest::Method::DELETE, "/v1/customers/current").key(&shop.own.public);
    let call = call.header("orderworks-session", session);
    call.json(&json!({"password": "canary correct horse"})).send().await.expect_status(204);
    read().await.expect_problem(401, "session_invalid");
}
