//! Every page of the console in a browser by the rules of axe-core, in both themes, at the width of a desk and of a
//! phone; and pictures of some of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::base;
use crate::util::{Browser, Dev, alone};

/// Widths in pixels, and themes.
const WIDTHS: [u32; 2] = [1280, PHONE];
const PHONE: u32 = 390;
const THEMES: [&str; 2] = ["light", "dark"];
/// Pictures: paths, up to an id where they end with `/`, width and theme, and the name of the file.
const PICTURES: [(&str, u32, &str, &str); 4] = [
    ("/", 1280, "light", "console-overview"),
    ("/", PHONE, "dark", "console-overview-phone"),
    ("/queues/payments", 1280, "dark", "console-queue"),
    ("/orders/", 1280, "light", "console-order"),
];

/// Checks one page as it is shown now; returns its background.
async fn check(browser: &Browser, path: &str, width: u32, theme: &str) -> String {
    browser.show_as(width, theme).await;
    let violations = browser.violations().await;
    assert!(violations.is_empty(), "{path}, {theme}, {width} px:\n{violations}");
    let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    let overflow = browser.run(overflow, json!([])).await;
    assert_eq!(overflow, 0, "{path}, {theme}, {width} px: the page scrolls sideways");
    if path == "/" && width > PHONE {
        let cut = "const queues = document.querySelector('main section.wide');
            return queues.scrollWidth - queues.clientWidth";
        let cut = browser.run(cut, json!([])).await;
        assert_eq!(cut, 0, "{theme}, {width} px: columns of the queues are beyond the edge");
    }
    let is_of = |of: &str| of == path || of.len() > 1 && of.ends_with('/') && path.starts_with(of);
    for (of, at, with, name) in PICTURES {
        if is_of(of) && (at, with) == (width, theme) {
            browser.picture(name).await;
        }
    }
    browser.text("return getComputedStyle(document.body).backgroundColor", json!([])).await
}

/// Checks a page at all widths in all themes.
async fn check_all(browser: &Browser, base: &str, path: &str) {
    browser.visit(&format!("{base}{path}")).await;
    let mut backgrounds = BTreeSet::new();
    for theme in THEMES {
        for width in WIDTHS {
            backgrounds.insert(check(browser, path, width, theme).await);
        }
    }
    assert_eq!(backgrounds.len(), THEMES.len(), "{path}: one background a theme: {backgrounds:?}");
}

/// Paths of links on the present page that begin like this.
async fn links(browser: &Browser, prefix: &str) -> Vec<String> {
    let script = "return [...document.querySelectorAll('main a')].map((link) => link.pathname)
        .filter((path) => path.startsWith(arguments[0]))";
    let found = browser.run(script, json!([prefix])).await;
    found.as_array().expect("a list").iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_passes_axe_in_both_themes_and_on_a_phone() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let base = &base(&dev);
    check_all(&browser, base, "/sign-in").await;
    browser.visit(&dev.ready.console_url).await;

    let id = dev.storefront().accepted("one", "pm_card_visa").await;
    let declined = dev.storefront().accepted("two", "pm_card_chargeDeclined").await;
    for order in [&id, &declined] {
        dev.merchant().ended(order).await;
    }
    let order = format!("/orders/{id}");
    browser.visit(&format!("{base}{order}?live=on")).await;
    browser.until_shown("order.fulfilled").await;
    browser.until_shown("charge_payment").await;
    let job = links(&browser, "/jobs/").await.into_iter().next().expect("a link to a job");

    browser.visit(&format!("{base}/queues/email")).await;
    browser.fill("main input[name=why]", "a preview to look at").await;
    browser.click("main form button").await;
    browser.until_shown("Nothing is changed yet").await;
    let operation = browser.address().await.path().to_owned();

    let pages = ["/", "/queues", "/queues/payments", "/jobs", "/dead", "/workers", "/schedules", "/limits"];
    let others = ["/operations", "/audit", "/nowhere", order.as_str(), job.as_str(), operation.as_str()];
    for path in pages.into_iter().chain(others) {
        check_all(&browser, base, path).await;
    }
    browser.close().await;
    assert!(dev.stop().await.success());
}

/// The pages of the API look and work the same, with a form that sends its request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_of_the_api_passes_axe_and_its_form_places_an_order() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let base = &dev.ready.url;
    let operations = ["orders/place_order", "orders/list_orders", "orders/get_timeline", "customers/delete"];
    check_all(&browser, base, "/docs").await;
    for operation in operations {
        check_all(&browser, base, &format!("/docs/{operation}")).await;
    }
    browser.visit(&format!("{base}/docs/orders/place_order")).await;
    browser.click("main form button").await;
    browser.until_shown("202 Accepted").await;
    browser.close().await;
    assert!(dev.stop().await.success());
}
