//! Every page of the storefront by the rules of axe-core, in both themes, at the width of a desk and of a phone, and in
//! each language; what a page transfers, and how soon its largest part is painted by a slow processor; and pictures of
//! some pages.

use std::{path::Path, time::Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::Shopper;
use crate::{
    admission::merchant_of,
    customers::signed_in,
    util::{Browser, Dev, PATIENCE, alone, order, run_json},
};

/// Widths in pixels, and themes.
const WIDTHS: [u32; 2] = [1280, PHONE];
const PHONE: u32 = 390;
const THEMES: [&str; 2] = ["light", "dark"];
/// Bytes of a page with all that it loads.
const PAGE_BYTES_MAX: f64 = 60.0 * 1024.0;
/// Milliseconds until the largest part of a page is painted, on a processor slowed down to a quarter.
const PAINT_MS_MAX: f64 = 1_000.0;
/// Visits of a browser that has kept nothing of former ones. Half of them may be slower than the limit: other processes
/// of the machine take their part.
const VISITS: usize = 5;
/// Pages that need neither a cart nor a session.
const OPEN_PAGES: [&str; 12] = [
    "/",
    "/c/kitchen",
    "/search?q=cup",
    "/search?q=nothing",
    "/p/CUP-ENAMEL",
    "/cart",
    "/sign-in",
    "/account/register",
    "/account/verify",
    "/account/forgot",
    "/account/reset",
    "/p/none",
];
/// Pages of a customer who is signed in.
const OWN_PAGES: [&str; 2] = ["/account", "/account/delete"];
/// Pages whose largest part has to be painted soon, with a product in the cart.
const PAINTED_PAGES: [&str; 7] =
    ["/", "/c/kitchen", "/search?q=cup", "/p/CUP-ENAMEL", "/cart", "/checkout", "/sign-in"];
const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "canary correct horse";
/// Pictures: path, width and theme, and the name of the file.
const PICTURES: [(&str, u32, &str, &str); 4] = [
    ("/", PHONE, "light", "storefront-home-phone"),
    ("/p/CUP-ENAMEL", 1280, "dark", "storefront-product"),
    ("/checkout", PHONE, "dark", "storefront-checkout-phone"),
    ("/o/", 1280, "light", "storefront-order"),
];

const BYTES: &str =
    "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0)";
const WATCH_PAINT: &str = "new PerformanceObserver((list) => { for (const entry of list.getEntries())
    window.painted = entry.startTime; }).observe({ type: 'largest-contentful-paint', buffered: true })";

/// Checks the page that is shown.
async fn check(browser: &Browser, path: &str) {
    for theme in THEMES {
        for width in WIDTHS {
            browser.show_as(width, theme).await;
            let violations = browser.violations().await;
            assert!(violations.is_empty(), "{path}, {theme}, {width} px:\n{violations}");
            let overflow =
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            let overflow = browser.run(overflow, json!([])).await;
            assert_eq!(overflow, 0, "{path}, {theme}, {width} px: the page scrolls sideways");
            let is_of = |of: &str| of == path || of.len() > 1 && of.ends_with('/') && path.starts_with(of);
            for (_, _, _, name) in
                PICTURES.iter().filter(|(of, at, with, _)| is_of(of) && (*at, *with) == (width, theme))
            {
                browser.picture(name).await;
            }
        }
    }
    let bytes = browser.run(BYTES, json!([])).await.as_f64().expect("a number");
    assert!((1_000.0..=PAGE_BYTES_MAX).contains(&bytes), "{path}: {bytes} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_the_storefront_passes_axe_and_is_small() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shopper = Shopper::new(&browser, &dev);
    for path in OPEN_PAGES {
        shopper.visit(path).await;
        check(&browser, path).await;
    }
    shopper.to_checkout("CUP-ENAMEL").await;
    check(&browser, "/checkout").await;
    shopper.visit("/cart").await;
    check(&browser, "/cart").await;
    shopper.visit("/checkout").await;
    shopper.fill_in("pm_card_chargeDeclined").await;
    // Wrong for the server only.
    browser.run("document.getElementById('country').value = 'XX'", json!([])).await;
    shopper.pay().await;
    browser.until_shown("Please check the marked fields.").await;
    check(&browser, "/checkout with a mistake").await;
    browser.run("document.getElementById('country').value = 'GB'", json!([])).await;
    let declined = shopper.order().await;
    browser.until_shown("The payment was declined.").await;
    check(&browser, &declined).await;
    let fulfilled = check_account(&shopper, &dev).await;
    check_languages(&shopper, &fulfilled).await;
    check_waiting_rooms(&shopper, data.path()).await;
    browser.close().await;
    assert!(dev.stop().await.success());
}

/// What only a customer sees, and the page of an order that is on its way; returns its path.
async fn check_account(shopper: &Shopper<'_>, dev: &Dev) -> String {
    let session = signed_in(dev, EMAIL, PASSWORD).await;
    let (shop, keyed) =
        (dev.storefront(), [("orderworks-session", &*session), ("idempotency-key", "account")]);
    let body = order("CUP-ENAMEL", 1, "pm_card_visa");
    let (status, placed) = shop.send_with(Method::POST, "/v1/orders", &keyed, Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{placed}");
    let id = placed["id"].as_str().expect("an id");
    assert_eq!(dev.merchant().ended(id).await["status"], "fulfilled");
    shopper.visit("/sign-in").await;
    for (field, value) in [("#email", EMAIL), ("#password", PASSWORD)] {
        shopper.browser.fill(field, value).await;
    }
    shopper.browser.click("main form button").await;
    shopper.until_at("/account").await;
    let fulfilled = format!("/o/{id}");
    for path in OWN_PAGES.into_iter().chain([fulfilled.as_str()]) {
        shopper.visit(path).await;
        // Under a name of its own, so that it is none of the pictures.
        check(shopper.browser, &format!("signed in: {path}")).await;
    }
    fulfilled
}

/// All pages once more in the other languages, with a product in the cart and a customer who is signed in.
async fn check_languages(shopper: &Shopper<'_>, fulfilled: &str) {
    shopper.to_checkout("CUP-ENAMEL").await;
    for language in ["de", "ja"] {
        shopper.visit(&format!("/?lang={language}")).await;
        for path in OPEN_PAGES.into_iter().chain(OWN_PAGES).chain(["/checkout", fulfilled]) {
            shopper.visit(path).await;
            let shown = shopper.browser.text("return document.documentElement.lang", json!([])).await;
            assert_eq!(shown, language, "{path}");
            check(shopper.browser, &format!("{language}: {path}")).await;
        }
    }
    shopper.visit("/?lang=en").await;
}

/// The waiting room of the storefront, and that of the API for shops of others.
async fn check_waiting_rooms(shopper: &Shopper<'_>, data: &Path) {
    let merchant = merchant_of(data).await;
    shopper.visit("/p/CUP-ENAMEL").await;
    shopper.browser.click("main form button").await;
    shopper.until_at("/cart").await;
    run_json(data, &["merchant", "sale", &merchant, "on", "--per-minute", "1"]).await;
    for path in ["/waiting?still=1".to_owned(), format!("/waiting_room/{merchant}?still=1")] {
        let start = Instant::now();
        loop {
            shopper.visit(&path).await;
            let title =
                shopper.browser.text("return document.querySelector('h1').textContent", json!([])).await;
            if title == "You are in line" {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{path} shows {title}");
        }
        check(shopper.browser, &path).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_part_of_a_page_is_painted_within_a_second_by_a_slow_processor() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shopper = Shopper::new(&browser, &dev);
    browser.show_as(PHONE, "light").await;
    shopper.to_checkout("CUP-ENAMEL").await;
    browser.devtools("Emulation.setCPUThrottlingRate", json!({ "rate": 4 })).await;
    browser.devtools("Network.enable", json!({})).await;
    browser.devtools("Network.setCacheDisabled", json!({ "cacheDisabled": true })).await;
    for path in PAINTED_PAGES {
        let mut times = Vec::new();
        for _ in 0..VISITS {
            shopper.visit(path).await;
            browser.run(WATCH_PAINT, json!([])).await;
            browser.until("painted", "return window.painted > 0", json!([])).await;
            times.push(browser.run("return window.painted", json!([])).await.as_f64().expect("a number"));
        }
        times.sort_by(f64::total_cmp);
        assert!(times[VISITS / 2] <= PAINT_MS_MAX, "{path}: {times:?} ms");
    }
    browser.close().await;
    assert!(dev.stop().await.success());
}
