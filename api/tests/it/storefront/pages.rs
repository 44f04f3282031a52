//! Pages of the catalog, and what holds for every page: policy, size, languages, forms of other sites.

use api::{ApiConfig, DocsConfig, DocsKeys, ServerLimits, StorefrontConfig};
use reqwest::Method;

use super::{Browser, Page, expect_policy, open, open_with, pages_of_shop, priced};
use crate::util::{TestApi, config};

/// Bytes of a page with its style sheet and script at most.
const PAGE_BYTES_MAX: usize = 60 * 1024;

/// A page of a visitor with a cart, or one that is none of the catalog.
#[track_caller]
fn expect_own(path: &str, page: &Page) {
    expect_policy(path, page);
    assert_eq!((page.header("cache-control"), page.header("etag")), ("no-store", ""), "{path}");
}

#[tokio::test]
async fn every_page_is_small_and_loads_its_own_files_alone() {
    let shop = open().await;
    for n in 0..30 {
        shop.stock(&format!("mug-{n:02}"), 10).await;
    }
    let mut browser = Browser::new(&shop);
    browser.add("mug-01", "2").await;
    let mut files = 0;
    for name in ["css", "js"] {
        let file = browser.get(&format!("/storefront/storefront.{name}?v=1")).await.expect_status(200);
        assert_eq!(file.header("cache-control"), "public, max-age=86400");
        files += file.text.len();
    }
    let good =
        ["/", "/?after=mug-23", "/c/mugs", "/search?q=mug", "/search?q=", "/p/mug-01", "/cart", "/checkout"];
    for path in good.into_iter().chain([
        "/sign-in",
        "/account/register",
        "/account/verify",
        "/account/forgot",
        "/account/reset",
    ]) {
        let page = browser.get(path).await.expect_status(200);
        expect_own(path, &page);
        assert!(page.text.len() + files <= PAGE_BYTES_MAX, "{path}: {} and {files} bytes", page.text.len());
    }
    for path in ["/c/none", "/p/none", "/o/ord_none", "/p/..%2f..", "/c/%22%3E"] {
        expect_own(path, &browser.get(path).await.expect_status(404));
    }
    let first = browser.get("/").await;
    first.expect_text("href=\"/?after=mug-23\"");
    let second = browser.get("/?after=mug-23").await;
    second.expect_text("href=\"/p/mug-24\"");
    assert!(!second.text.contains("More products"), "{}", second.text);
}

#[tokio::test]
async fn programs_still_find_the_api_at_its_root() {
    let shop = open().await;
    let index = shop.call(Method::GET, "/").send().await.expect_status(200);
    assert_eq!(index.json["openapi"], "/openapi.json");
    shop.call(Method::GET, "/nothing").send().await.expect_problem(404, "route_not_found");
    shop.call(Method::GET, "/cart/items").send().await.expect_problem(405, "method_not_allowed");
    let bare = TestApi::open().await;
    bare.call(Method::GET, "/").header("accept", "text/html").send().await.expect_status(200);
    bare.call(Method::GET, "/cart").send().await.expect_problem(404, "route_not_found");
}

#[tokio::test]
async fn the_reference_beside_a_storefront_still_sends_each_operation() {
    let keys = DocsKeys { publishable: String::new().into(), secret: String::new().into() };
    let (docs, storefront) = (Some(DocsConfig { keys: Some(keys) }), Some(pages_of_shop()));
    let shop = TestApi::open_with(ApiConfig { docs, storefront, ..config() }, ServerLimits::default()).await;
    let form = shop.call(Method::POST, "/docs/health/index").header("sec-fetch-site", "same-origin");
    let form = form.header("content-type", "application/x-www-form-urlencoded").raw("key=none");
    let sent = form.send().await.expect_status(200);
    assert!(sent.text.contains("200 OK") && sent.text.contains("openapi"), "{}", sent.text);
}

#[tokio::test]
async fn a_storefront_with_a_host_is_served_there_alone() {
    let host = Some("shop.example".to_owned());
    let shop = open_with(StorefrontConfig { host, https: true, ..pages_of_shop() }).await;
    shop.stock("mug", 1).await;
    let html = |path: &str| shop.call(Method::GET, path).header("accept", "text/html");
    assert_eq!(html("/").send().await.expect_status(200).json["name"], "orderworks");
    html("/p/mug").send().await.expect_problem(404, "route_not_found");
    let page = html("/p/mug?lang=de").header("host", "Shop.example").send().await.expect_status(200);
    assert!(page.text.contains("In den Warenkorb"), "{}", page.text);
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("__Host-orderworks_language=de;") && cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn pages_speak_the_language_of_the_browser_or_the_chosen_one() {
    let shop = open().await;
    priced(&shop, "cup", "Cup", 123_450, "EUR").await;
    priced(&shop, "bowl", "Bowl", 1_250, "JPY").await;
    priced(&shop, "jug", "Jug", 12_345, "KWD").await;
    let mut browser = Browser::new(&shop);
    for (language, tag, texts) in [
        ("en-GB,en;q=0.9", "en", ["Only 3 left", "€1,234.50", "¥1,250", "KWD\u{a0}12.345"]),
        ("de-AT", "de", ["Nur noch 3 da", "1.234,50\u{a0}€", "1.250\u{a0}¥", "12,345\u{a0}KWD"]),
        ("ja", "ja", ["残り3点", "€1,234.50", "¥1,250", "KWD\u{a0}12.345"]),
        ("fr", "en", ["Only 3 left", "€1,234.50", "¥1,250", "KWD\u{a0}12.345"]),
    ] {
        browser.language = language;
        let page = browser.get("/").await.expect_status(200);
        page.expect_text(&format!("<html lang=\"{tag}\">"));
        for text in texts {
            page.expect_text(text);
        }
    }
    let chosen = browser.get("/search?q=cup&lang=de").await;
    chosen.expect_text("href=\"/search?q=cup&#38;lang=ja\"");
    browser.get("/cart").await.expect_text("Ihr Warenkorb");
    browser.get("/?lang=xx").await.expect_text("<html lang=\"de\">");
}

#[tokio::test]
async fn what_merchants_and_visitors_write_is_escaped() {
    let shop = open().await;
    let hostile = "\"><script>alert(1)</script>";
    priced(&shop, "cup", hostile, 100, "EUR").await;
    let mut browser = Browser::new(&shop);
    browser.add("cup", "1").await;
    let search = "/search?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for path in ["/", "/p/cup", "/cart", "/checkout", search] {
        let page = browser.get(path).await.expect_status(200);
        expect_own(path, &page);
        page.expect_text("&#60;script&#62;");
    }
    let mut form = browser.checkout().await;
    for (name, value) in &mut form {
        if name == "email" || name == "city" {
            hostile.clone_into(value);
        }
    }
    let again = browser.pay(&form).await.expect_status(422);
    expect_own("/checkout", &again);
    again.expect_text("Please check the marked fields.");
    again.expect_text("id=\"email-wrong\"");
}

#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "1").await;
    let form = browser.checkout().await;
    for (header, value) in
        [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("x-none", "1")]
    {
        for path in [
            "/checkout",
            "/cart",
            "/cart/items",
            "/o/ord_1/retry",
            "/sign-in",
            "/sign-out",
            "/account/register",
            "/account/verify",
            "/account/forgot",
            "/account/reset",
            "/account/sessions/end",
            "/account/delete",
        ] {
            let request =
                browser.request(Method::POST, path).header(header, value).body("sku=mug&quantity=5");
            let page = browser.page(request).await.expect_status(403);
            page.expect_text("The form was sent by another site.");
        }
    }
    assert_eq!(shop.traces().await.0, 0);
    assert!(browser.pay(&form).await.leads_to().starts_with("/o/ord_"), "its own form is taken");
}

#[tokio::test]
async fn a_search_finds_products_and_tells_when_there_are_none() {
    let shop = open().await;
    priced(&shop, "cafe", "Café cup", 100, "EUR").await;
    let mut browser = Browser::new(&shop);
    let found = browser.get("/search?q=CAFE").await.expect_status(200);
    found.expect_text("href=\"/p/cafe\"");
    found.expect_text("Results for CAFE");
    browser.get("/search?q=spoon").await.expect_text("No products were found.");
}
