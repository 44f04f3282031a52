//! Pages of the catalog and caches: what visitors share, what is of one of them, which write makes what invalid, and
//! the last page while the store is away.

use std::time::Duration;

use api::{ApiConfig, CachePolicies, ServerLimits};
use base::Ambient;
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::{Browser, Page, expect_policy, open, pages_of_shop};
use crate::{
    customers::registered,
    util::{TestApi, config},
};

const PAGES: [&str; 4] = ["/", "/c/mugs", "/search?q=mug", "/p/mug"];
const SHARED: &str = "public, max-age=1, stale-while-revalidate=10, stale-if-error=300";
const VARY: &str = "accept-language, cookie";
const PASSWORD: &str = "canary correct horse";

/// A shop that sells mugs.
async fn mugs() -> TestApi {
    let shop = open().await;
    shop.stock("mug", 10).await;
    shop
}

async fn asked(browser: &mut Browser<'_>, path: &str, tag: &str) -> Page {
    let request = browser.request(Method::GET, path).header("if-none-match", tag);
    browser.page(request).await
}

/// A page that every visitor of its language may be sent; returns its tag.
#[track_caller]
fn expect_shared(path: &str, page: &Page) -> String {
    assert_eq!(page.status, 200, "{path}: {}", page.text);
    assert_eq!(page.header("cache-control"), SHARED, "{path}");
    assert!(page.header("set-cookie").is_empty(), "{path}");
    let vary = if path == "/" { format!("accept, {VARY}") } else { VARY.to_owned() };
    assert_eq!(page.header("vary"), vary, "{path}");
    let tag = page.header("etag").to_owned();
    assert!(tag.len() == 34 && tag.starts_with('"'), "{path}: {tag}");
    tag
}

/// A page of one visitor, which no cache may store.
#[track_caller]
fn expect_own(path: &str, page: &Page) {
    assert_eq!((page.status, page.header("cache-control")), (200, "no-store"), "{path}: {}", page.text);
    assert!(page.header("etag").is_empty() && page.header("cache-groups").is_empty(), "{path}");
}

#[tokio::test]
async fn a_page_that_a_visitor_has_already_is_not_sent_again() {
    let shop = mugs().await;
    let mut browser = Browser::new(&shop);
    for path in PAGES {
        let first = browser.get(path).await;
        let tag = expect_shared(path, &first);
        expect_policy(path, &first);
        let unchanged = asked(&mut browser, path, &format!("\"other\", W/{tag}")).await;
        assert_eq!((unchanged.status, unchanged.text.as_str()), (304, ""), "{path}");
        for field in ["etag", "cache-control", "vary", "cache-groups", "content-security-policy"] {
            assert_eq!(unchanged.header(field), first.header(field), "{path}: {field}");
        }
        let changed = asked(&mut browser, path, "\"other\"").await;
        assert_eq!((expect_shared(path, &changed), &changed.text), (tag.clone(), &first.text));
        let request = browser.request(Method::HEAD, path);
        let head = browser.page(request).await;
        assert_eq!((head.status, head.header("etag"), head.text.as_str()), (200, tag.as_str(), ""));
    }
    // What a program gets at `/` is no page.
    let index = shop.call(Method::GET, "/").send().await.expect_status(200);
    assert_eq!((index.header("cache-control"), index.header("etag")), ("no-store", ""));
}

#[tokio::test]
async fn a_write_shows_in_the_next_page_and_names_the_groups_of_all_that_show_it() {
    let shop = mugs().await;
    let mut browser = Browser::new(&shop);
    let mut tags = Vec::new();
    for path in PAGES {
        tags.push(expect_shared(path, &browser.get(path).await));
    }
    let body = json!({"name": "Mug of tin", "category": "mugs", "price_minor": 300, "currency": "EUR"});
    let put = shop.put("/v1/products/mug", &body).send().await.expect_status(200);
    let invalidated = put.header("cache-group-invalidation");
    for (path, tag) in PAGES.iter().zip(&mut tags) {
        let page = asked(&mut browser, path, tag).await;
        assert_ne!(expect_shared(path, &page), *tag, "{path}");
        page.expect_text("Mug of tin");
        page.expect_text("€3.00");
        let group = page.header("cache-groups");
        assert!(group.len() > 8 && invalidated.contains(group), "{path}: {group} of {invalidated}");
        page.header("etag").clone_into(tag);
    }
    shop.put("/v1/inventory/mug", &json!({"on_hand": 0})).send().await.expect_status(200);
    for (path, tag) in PAGES.iter().zip(&tags) {
        let page = asked(&mut browser, path, tag).await;
        expect_shared(path, &page);
        page.expect_text("Sold out");
    }
    // A page that there was not.
    browser.get("/p/cup").await.expect_status(404);
    browser.get("/c/cups").await.expect_status(404);
    let body = json!({"name": "Cup", "category": "cups", "price_minor": 300, "currency": "EUR"});
    shop.put("/v1/products/cup", &body).send().await.expect_status(201);
    for path in ["/p/cup", "/c/cups"] {
        expect_shared(path, &browser.get(path).await);
    }
}

#[tokio::test]
async fn what_an_order_takes_shows_within_a_moment() {
    let shop = mugs().await;
    let mut browser = Browser::new(&shop);
    expect_shared("/p/mug", &browser.get("/p/mug").await);
    let mut buyer = Browser::new(&shop);
    buyer.add("mug", "9").await;
    let form = buyer.checkout().await;
    assert!(buyer.pay(&form).await.leads_to().starts_with("/o/"));
    let deadline = Instant::now() + Duration::from_secs(4);
    loop {
        let page = browser.get("/p/mug").await;
        expect_shared("/p/mug", &page);
        if page.text.contains("Only 1 left") {
            break;
        }
        assert!(Instant::now() < deadline, "{}", page.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn languages_do_not_mix_and_what_a_page_does_not_know_makes_no_page() {
    let shop = mugs().await;
    let mut browser = Browser::new(&shop);
    for path in PAGES {
        let mut tags = Vec::new();
        for _ in 0..2 {
            for (language, tag) in [("en", "en"), ("de-AT", "de"), ("ja", "ja"), ("fr", "en")] {
                browser.language = language;
                let page = browser.get(path).await;
                tags.push(expect_shared(path, &page));
                page.expect_text(&format!("<html lang=\"{tag}\">"));
            }
        }
        let [en, de, ja, fr] = &tags[..4] else { panic!("{tags:?}") };
        assert!(en != de && de != ja && ja != en && en == fr, "{tags:?}");
        assert_eq!(tags[..4], tags[4..], "{path}");
        // A language that was chosen before is as good as one of the browser.
        browser.cookies.insert("orderworks_language".to_owned(), "de".to_owned());
        assert_eq!(expect_shared(path, &browser.get(path).await), *de, "{path}");
        browser.cookies.clear();
        browser.language = "en";
        let more = if path.contains('?') { '&' } else { '?' };
        let other = browser.get(&format!("{path}{more}campaign=7&after=%22&lang=xx")).await;
        assert_eq!(expect_shared(path, &other), *en, "{path}");
        assert!(!other.text.contains("campaign"), "{path}: {}", other.text);
    }
}

#[tokio::test]
async fn a_visitor_with_a_cart_or_a_session_gets_a_page_of_its_own() {
    let shop = mugs().await;
    registered(&shop, &json!({"email": "ada@example.com", "name": "Ada Lovelace", "password": PASSWORD}))
        .await;
    let (mut visitor, mut buyer) = (Browser::new(&shop), Browser::new(&shop));
    buyer.add("mug", "1").await;
    let mut customer = Browser::new(&shop);
    let signed_in = customer.post("/sign-in", &[("email", "ada@example.com"), ("password", PASSWORD)]).await;
    assert_eq!(signed_in.leads_to(), "/account");
    // Signing in opens a cart, too: the session is enough.
    customer.cookies.remove("orderworks_cart");
    assert!(customer.cookies.contains_key("orderworks_session"));
    for path in PAGES {
        let tag = expect_shared(path, &visitor.get(path).await);
        for browser in [&mut buyer, &mut customer] {
            let page = asked(browser, path, &tag).await;
            expect_own(path, &page);
            expect_policy(path, &page);
        }
        customer.get(path).await.expect_text("href=\"/account\"");
        let page = visitor.get(path).await;
        assert_eq!(expect_shared(path, &page), tag, "{path}");
        assert!(!page.text.contains("href=\"/account\""), "{path}: {}", page.text);
    }
    // The first page of a process may be that of a customer.
    shop.stock("cup", 10).await;
    expect_own("/p/cup", &customer.get("/p/cup").await);
    let page = visitor.get("/p/cup").await;
    expect_shared("/p/cup", &page);
    page.expect_text("href=\"/sign-in\"");
    assert_eq!(customer.post("/sign-out", &[]).await.leads_to(), "/");
    expect_shared("/p/cup", &customer.get("/p/cup").await);
}

#[tokio::test]
async fn an_answer_that_sets_a_cookie_is_stored_by_no_cache() {
    let shop = mugs().await;
    let mut visitor = Browser::new(&shop);
    for path in PAGES {
        let tag = expect_shared(path, &visitor.get(path).await);
        let more = if path.contains('?') { '&' } else { '?' };
        let mut chooser = Browser::new(&shop);
        let chosen = asked(&mut chooser, &format!("{path}{more}lang=de"), &tag).await;
        expect_own(path, &chosen);
        assert!(chosen.header("set-cookie").starts_with("orderworks_language=de;"), "{path}");
        chosen.expect_text("<html lang=\"de\">");
        expect_shared(path, &chooser.get(path).await);
        assert_eq!(expect_shared(path, &visitor.get(path).await), tag, "{path}");
    }
    for path in ["/cart", "/sign-in", "/account/register"] {
        expect_own(path, &visitor.get(path).await);
    }
    for path in ["/p/none", "/c/none"] {
        let page = visitor.get(path).await.expect_status(404);
        assert_eq!((page.header("cache-control"), page.header("etag")), ("no-store", ""), "{path}");
    }
}

#[tokio::test]
async fn while_the_store_is_away_the_last_page_is_sent_with_its_age() {
    let (ambient, clock) = Ambient::steered(6, Ambient::system().now());
    let cache = CachePolicies { product: Duration::from_millis(100), ..CachePolicies::default() };
    let config = ApiConfig { cache, storefront: Some(pages_of_shop()), ..config() };
    let shop = TestApi::open_at(config, ServerLimits::default(), ambient).await;
    shop.stock("mug", 10).await;
    let mut visitor = Browser::new(&shop);
    let last = visitor.get("/p/mug").await;
    let tag = expect_shared("/p/mug", &last);
    assert!(last.header("age").is_empty());
    shop.orders.close().await;
    // Once the product is no longer cached, the page is made of the API's last answer.
    let deadline = Instant::now() + Duration::from_secs(4);
    loop {
        let page = visitor.get("/p/mug").await;
        assert_eq!((expect_shared("/p/mug", &page), &page.text), (tag.clone(), &last.text));
        if page.header("age") == "0" {
            break;
        }
        assert!(Instant::now() < deadline, "the store is never asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    clock.advance(Duration::from_secs(2));
    assert_eq!(visitor.get("/p/mug").await.header("age"), "2");

    // The key is known for five seconds; after that the API answers nothing.
    clock.advance(Duration::from_secs(8));
    shop.get("/v1/products/mug").key(&shop.own.public).send().await.expect_status(503);
    let page = visitor.get("/p/mug").await;
    assert_eq!((expect_shared("/p/mug", &page), page.header("age")), (tag.clone(), "10"));
    let unchanged = asked(&mut visitor, "/p/mug", &tag).await;
    assert_eq!((unchanged.status, unchanged.header("age")), (304, "10"));
    // What was never shown is not to be had, and a visitor with a cart gets no shared page.
    visitor.get("/").await.expect_status(503).expect_text("Too many people are here at once.");
    let mut buyer = Browser::new(&shop);
    buyer.cookies.insert("orderworks_cart".to_owned(), "cart_1".to_owned());
    let page = buyer.get("/p/mug").await.expect_status(503);
    assert_eq!(page.header("cache-control"), "no-store");
    clock.advance(Duration::from_mins(5));
    visitor.get("/p/mug").await.expect_status(503);
}
